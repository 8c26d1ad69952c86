"""The settings of every kind with a continuous Gaussian latent space."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from genmodels.base.image_likelihood import LikelihoodConfig


class VAEConfig(LikelihoodConfig):
    """The settings of every continuous VAE kind.

    Attributes:
        prior: `normal` is N(0, I); `vamp` is an equally weighted mixture of the posteriors of
            learned pseudo-inputs (Tomczak & Welling 2018, arXiv 1705.07120).
        num_pseudo_inputs: Number of pseudo-inputs (vamp); null for another prior.
        sampler: Distribution of the latents of samples: `prior`, or `gmm`, a Gaussian mixture
            fitted to the codes of the training images after training (Ghosh et al. 2020), one
            mixture per class in a conditional model.
        gmm_components: Components of a mixture (gmm); null for sampler `prior`.
        kl_warmup: Fraction of the run, or of each cycle, in which the regulariser's weight rises
            from 0 to 1.
        kl_cycles: Number of warm-up cycles (Fu et al. 2019, arXiv 1903.10145); 1 = one warm-up.
    """

    prior: Literal["normal", "vamp"]
    num_pseudo_inputs: Annotated[int, Field(ge=1)] | None
    sampler: Literal["prior", "gmm"]
    gmm_components: Annotated[int, Field(ge=1)] | None
    kl_warmup: Annotated[float, Field(ge=0, le=1)]
    kl_cycles: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _counts_fit_choices(self) -> Self:
        for key, choice, count in (
            ("prior", "vamp", "num_pseudo_inputs"),
            ("sampler", "gmm", "gmm_components"),
        ):
            if (getattr(self, key) == choice) != (getattr(self, count) is not None):
                needed = "a number" if getattr(self, key) == choice else "null"
                raise ValueError(f"{key} {getattr(self, key)!r} needs {count}: {needed}")
        if self.prior == "vamp" and self.conditional:
            raise ValueError(
                "prior 'vamp' contradicts conditional: true, because pseudo-inputs have no class; "
                "set prior: normal or conditional: false"
            )
        return self
