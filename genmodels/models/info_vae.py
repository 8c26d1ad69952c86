"""InfoVAE and MMD-VAE: the divergence between the aggregate posterior and the prior."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.model import normal
from genmodels.base.vae import Terms, VAEBase
from genmodels.base.vae_config import VAEConfig
from genmodels.objectives.mmd import squared_mmd


class Config(VAEConfig):
    """Settings of kind `info_vae`.

    Use at least 128 images per batch, better 256. At d = 16 the standard deviation of MMD^2 at the
    prior is 0.0066 (128) and 0.0033 (256), that is 7 and 3 nats at mmd_lambda 1000. The gradient
    of MMD^2 is noisy, too. If it exceeds the likelihood's gradient early in the training, the rate
    stays at 0; then reduce mmd_lambda, or increase the batch size or `kl_warmup`.

    Attributes:
        alpha: The weight of the rate is 1 - alpha: 0 = weight of the VAE, 1 = no rate (MMD-VAE,
            the Wasserstein autoencoder of Tolstikhin et al. 2018), negative = larger weight.
        mmd_lambda: Lambda of the paper; the weight of MMD^2 is alpha + mmd_lambda - 1. For a
            published lambda of an objective in squared errors, set lambda / (2 sigma^2).
    """

    kind: Literal["info_vae"]
    alpha: Annotated[float, Field(le=1)]
    mmd_lambda: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _divergence_is_minimised(self) -> Self:
        if self.alpha + self.mmd_lambda < 1:
            raise ValueError(
                f"alpha {self.alpha} + mmd_lambda {self.mmd_lambda} is below 1, which would "
                "maximise the MMD; their sum must be at least 1"
            )
        if self.prior != "normal":
            raise ValueError(
                f"prior {self.prior!r} is not allowed, because the MMD compares the codes with "
                "N(0, I); set prior: normal"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Warns of batches that are too small to estimate the MMD."""
        small = f"batch_size {self.batch_size}: below 128 the MMD is mostly noise"
        return (*super().cautions(), *([small] if self.batch_size < 128 else []))


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + (1 - alpha) KL + (alpha + lambda - 1) MMD^2(q(z), p(z)).

    Zhao et al. 2017 (arXiv 1706.02262), Eq. 6. MMD^2 has no unit and depends on the batch as a
    whole.
    """

    config: Config

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The weighted rate plus the weighted MMD^2 between codes and draws from the prior."""
        config = self.config
        mmd = squared_mmd(terms.z, normal(terms.z.shape, rng, terms.z.device))
        weighted = (config.alpha + config.mmd_lambda - 1) * mmd
        logged = {"squared_mmd": mmd, "weighted_squared_mmd": weighted}
        return (1 - config.alpha) * terms.rate + weighted, logged
