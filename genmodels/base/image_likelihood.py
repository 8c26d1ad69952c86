"""What the models with a decoder likelihood share: p(x | z), binarisation, the class condition."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genmodels import networks
from genmodels.base.model import SCORING_BATCH, GenerativeModel, Images, ModelConfig, Phase
from genmodels.networks.blocks import draw_weights
from genmodels.networks.shape import ImageShape
from genmodels.objectives.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian, Likelihood

#: A hard floor of log sigma: one model that fits its data to the bit must not divide by zero.
LOG_SIGMA_FLOOR = -6.0
#: Share of a batch's mean squared error in the running one of the optimal sigma.
OPTIMAL_SIGMA_RATE = 0.01
#: Adam moves a scalar by its learning rate a step: at 1e-3, log sigma would need the whole run.
LEARNED_SIGMA_LEARNING_RATE = 1e-2


class LikelihoodConfig(ModelConfig):
    """The settings of every kind with a decoder likelihood.

    Attributes:
        likelihood: p(x | z).
        sigma: Deviation of a pixel of the gaussian likelihood: a number, `learned` as a parameter,
            or `optimal`, the root of the running mean squared error (Rybkin et al. 2021, arXiv
            2006.13202). Null for another likelihood.
        binarize: `dynamic` draws each pixel from Bernoulli(x) anew at every look at an image,
            `static` once and for all.
    """

    likelihood: Literal["bernoulli", "continuous_bernoulli", "gaussian"]
    sigma: Annotated[float, Field(gt=0)] | Literal["learned", "optimal"] | None
    binarize: Literal["dynamic", "static", "none"]

    @model_validator(mode="after")
    def _likelihood_fits_data(self) -> Self:
        if (self.likelihood == "gaussian") != (self.sigma is not None):
            needs = "a number, learned or optimal" if self.likelihood == "gaussian" else "null"
            raise ValueError(f"likelihood {self.likelihood!r} needs sigma: {needs}")
        if self.likelihood != "bernoulli" and self.binarize != "none":
            raise ValueError(
                f"likelihood {self.likelihood!r} models grey values: set binarize: none"
            )
        return self

    @model_validator(mode="after")
    def _sigma_belongs_to_the_weights(self) -> Self:
        if self.sigma == "optimal" and self.ema_half_life:
            raise ValueError(
                f"sigma 'optimal' with ema_half_life {self.ema_half_life}: it follows the error of "
                "the trained weights, not that of the averaged ones; set sigma: learned or "
                "ema_half_life: 0"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Bernoulli of grey values is a cross-entropy."""
        grey = (
            "likelihood 'bernoulli' with binarize 'none': on grey pixels it is a cross-entropy and "
            "no likelihood, so the ELBO is left out; for black and white images all is well"
        )
        shown = self.likelihood == "bernoulli" and self.binarize == "none"
        return (*super().cautions(), *([grey] if shown else []))


class LikelihoodModel(GenerativeModel):
    """A model whose decoder's output is the parameter of p(x | z)."""

    family: ClassVar[str] = "vae"
    #: Whether the encoder of a conditional model is told the class.
    encoder_is_told: ClassVar[bool] = True
    config: LikelihoodConfig
    mean_squared_error: Tensor

    def __init__(self, config: LikelihoodConfig, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        if config.sigma == "learned":
            self.log_sigma = nn.Parameter(torch.zeros(()))
        if config.sigma == "optimal":
            self.register_buffer("mean_squared_error", torch.ones(()))
        if config.conditional and self.encoder_is_told:
            self.label_plane = nn.Linear(num_classes, shape.height * shape.width, bias=False)

    @property
    def likelihood(self) -> Likelihood:
        """p(x | z), with sigma as it is now."""
        if self.config.likelihood == "bernoulli":
            return Bernoulli()
        if self.config.likelihood == "continuous_bernoulli":
            return ContinuousBernoulli()
        return Gaussian(self._log_sigma())

    @property
    def observation(self) -> str:
        """What the likelihood is a likelihood of; values of two kinds never share a column."""
        if self.config.likelihood != "bernoulli":
            return self.config.likelihood
        return "bernoulli_grey" if self.config.binarize == "none" else "bernoulli_binary"

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Log p(x | z) of each image, (N,) nats; in training the optimal sigma follows.

        The optimal sigma is a running value and not the batch's own, so that the loss stays a mean
        over images, and it is frozen outside training.

        Args:
            x: (N, C, H, W), observed.
            output: (N, C, H, W) of the decoder.
        """
        if self.training and self.config.sigma == "optimal":
            with torch.no_grad():
                error = (x - self.likelihood.mean(output)).square().mean()
                self.mean_squared_error.lerp_(error, OPTIMAL_SIGMA_RATE)
        return self.likelihood.log_prob(x, output)

    def draw_networks(self, rng: torch.Generator) -> None:
        """Draws the weights of all networks; what is a parameter of the model itself stays."""
        for network in self.children():
            draw_weights(network, rng)

    def start_decoder(self, network: nn.Module, images: Images) -> None:
        """Lets an untrained decoder stand at the mean image, and sigma at the error made there."""
        mean = images.x.mean(0)
        start = networks.shared_by_bias(network, mean)
        networks.set_output_bias(network, self.likelihood.raw(start))
        error = (images.x - mean).square().mean()
        if self.config.sigma == "optimal":
            self.mean_squared_error.copy_(error)
        if self.config.sigma == "learned":
            self.log_sigma = nn.Parameter(0.5 * error.log())

    def sigma_terms(self) -> dict[str, Tensor]:
        """Log sigma for the log, where it moves."""
        moves = self.config.sigma in ("learned", "optimal")
        return {"log_sigma": torch.as_tensor(self._log_sigma()).detach()} if moves else {}

    def whole_phase(
        self,
        name: str,
        parameters: Sequence[nn.Parameter],
        decayed: Sequence[nn.Parameter] | None = None,
    ) -> Phase:
        """The phase that trains encoder and decoder; a learned sigma goes at a pace of its own."""
        if self.config.sigma != "learned":
            return Phase(name, parameters, decayed=decayed)
        pace = LEARNED_SIGMA_LEARNING_RATE / self.config.learning_rate
        return Phase(name, parameters, decayed=decayed, faster=((self.log_sigma, pace),))

    def observed(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The statically binarised training images; drawing from them again changes nothing."""
        return self.observe(x, self.pixel_noise(x, rng)) if self.config.binarize == "static" else x

    def pixel_noise(self, x: Tensor, rng: torch.Generator) -> Tensor | None:
        """Uniform noise like `x` for the binarisation, or None where there is none."""
        if self.config.binarize == "none":
            return None
        return torch.rand(x.shape, generator=rng, device=rng.device).to(x.device)

    def observe(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """What the likelihood sees: x itself, or a draw of Bernoulli(x)."""
        return x if noise is None else (noise < x).to(x.dtype)

    @property
    def encoder_shape(self) -> ImageShape:
        """The shape of what the encoder sees: one more channel where it is told the class."""
        channels, height, width = self.shape
        return ImageShape(channels + self.conditional, height, width)

    def with_label_plane(self, x: Tensor, y: Tensor | None) -> Tensor:
        """`x` (N, C, H, W), with the class as one more channel where the model is conditional.

        The channel is a learned linear map of the one-hot class, which every architecture can read.
        """
        if not self.conditional:
            return x
        plane = self.label_plane(self.one_hot(y))
        return torch.cat([x, plane.reshape(-1, 1, self.shape.height, self.shape.width)], 1)

    def decoder_inputs(self, num_latents: int) -> int:
        """The decoder's inputs: the latents, and the one-hot class where it is conditional."""
        return num_latents + (self.num_classes if self.conditional else 0)

    def with_one_hot(self, z: Tensor, y: Tensor | None) -> Tensor:
        """`z` (N, d), with the one-hot class behind it where the model is conditional."""
        return torch.cat([z, self.one_hot(y)], 1) if self.conditional else z

    def _log_sigma(self) -> Tensor | float:
        sigma = self.config.sigma
        if sigma == "learned":
            return self.log_sigma.clamp(min=LOG_SIGMA_FLOOR)
        if sigma == "optimal":
            return (0.5 * self.mean_squared_error.log()).clamp(min=LOG_SIGMA_FLOOR)
        assert isinstance(sigma, float)
        return math.log(sigma)


def pieces(num: int, size: int = SCORING_BATCH) -> Iterator[slice]:
    """The slices of `num` images that are scored at a time."""
    for start in range(0, num, size):
        yield slice(start, start + size)
