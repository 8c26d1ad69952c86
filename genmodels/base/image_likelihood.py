"""Base class of all models with a decoder likelihood: p(x | z), binarisation, class condition."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genmodels import networks
from genmodels.base.config import ModelConfig
from genmodels.base.model import GenerativeModel, Images, Phase
from genmodels.networks.blocks import draw_weights
from genmodels.networks.shape import ImageShape
from genmodels.objectives.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian, Likelihood

#: Lower bound of log sigma, against division by zero when a model fits its data exactly.
LOG_SIGMA_FLOOR = -6.0
#: Weight of a batch's mean squared error in the moving average behind an optimal sigma.
OPTIMAL_SIGMA_RATE = 0.01
#: Learning rate of log sigma. Adam moves a scalar by about its learning rate per step, so at 1e-3
#: log sigma would need the whole run.
LEARNED_SIGMA_LEARNING_RATE = 1e-2


class LikelihoodConfig(ModelConfig):
    """The settings of every kind with a decoder likelihood.

    Attributes:
        likelihood: p(x | z).
        sigma: Standard deviation of a pixel under the gaussian likelihood: a number, `learned` (a
            parameter), or `optimal` (root of the moving average of the squared error, Rybkin et
            al. 2021, arXiv 2006.13202). Null for the other likelihoods.
        binarize: Whether pixels are drawn from Bernoulli(x): `dynamic` for every batch, `static`
            once before training, `none` never.
    """

    likelihood: Literal["bernoulli", "continuous_bernoulli", "gaussian"]
    sigma: Annotated[float, Field(gt=0)] | Literal["learned", "optimal"] | None
    binarize: Literal["dynamic", "static", "none"]

    @model_validator(mode="after")
    def _likelihood_fits_data(self) -> Self:
        if (self.likelihood == "gaussian") != (self.sigma is not None):
            needed = "a number, learned or optimal" if self.likelihood == "gaussian" else "null"
            raise ValueError(f"likelihood {self.likelihood!r} needs sigma: {needed}")
        if self.likelihood != "bernoulli" and self.binarize != "none":
            raise ValueError(
                f"binarize {self.binarize!r} contradicts likelihood {self.likelihood!r}, which "
                "models grey values; set binarize: none"
            )
        return self

    @model_validator(mode="after")
    def _sigma_belongs_to_the_weights(self) -> Self:
        if self.sigma == "optimal" and self.ema_half_life:
            raise ValueError(
                f"sigma 'optimal' contradicts ema_half_life {self.ema_half_life}: it is computed "
                "from the error of the trained weights, not of the averaged weights; set sigma: "
                "learned or ema_half_life: 0"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Warns of a Bernoulli likelihood on grey values, which is a cross-entropy."""
        grey = (
            "likelihood 'bernoulli' with binarize 'none': on grey pixels this is a cross-entropy, "
            "not a likelihood, so no ELBO is reported; on black-and-white images it is exact"
        )
        applies = self.likelihood == "bernoulli" and self.binarize == "none"
        return (*super().cautions(), *([grey] if applies else []))


class LikelihoodModel(GenerativeModel):
    """A model whose decoder outputs the parameters of p(x | z)."""

    family: ClassVar[str] = "vae"
    #: Whether the encoder of a conditional model gets the class as an input.
    conditional_encoder: ClassVar[bool] = True
    config: LikelihoodConfig
    mean_squared_error: Tensor

    def __init__(self, config: LikelihoodConfig, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        if config.sigma == "learned":
            self.log_sigma = nn.Parameter(torch.zeros(()))
        if config.sigma == "optimal":
            self.register_buffer("mean_squared_error", torch.ones(()))
        if config.conditional and self.conditional_encoder:
            self.label_plane = nn.Linear(num_classes, shape.height * shape.width, bias=False)

    @property
    def likelihood(self) -> Likelihood:
        """p(x | z) with the current sigma."""
        if self.config.likelihood == "bernoulli":
            return Bernoulli()
        if self.config.likelihood == "continuous_bernoulli":
            return ContinuousBernoulli()
        return Gaussian(self._log_sigma())

    @property
    def observation(self) -> str:
        """The observation model; likelihoods under two observation models are not comparable."""
        if self.config.likelihood != "bernoulli":
            return self.config.likelihood
        return "bernoulli_grey" if self.config.binarize == "none" else "bernoulli_binary"

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Log p(x | z) of each image, (N,) nats; in training mode it updates an optimal sigma.

        The optimal sigma is a moving average over batches, so that the loss stays a mean over
        images. In evaluation mode it is constant.

        Args:
            x: (N, C, H, W), after binarisation.
            output: (N, C, H, W) output of the decoder.
        """
        if self.training and self.config.sigma == "optimal":
            with torch.no_grad():
                error = (x - self.likelihood.mean(output)).square().mean()
                self.mean_squared_error.lerp_(error, OPTIMAL_SIGMA_RATE)
        return self.likelihood.log_prob(x, output)

    def draw_networks(self, rng: torch.Generator) -> None:
        """Draws the weights of all submodules; parameters of the model itself stay unchanged."""
        for network in self.children():
            draw_weights(network, rng)

    def start_decoder(self, network: nn.Module, images: Images) -> None:
        """Sets the decoder's output bias to the mean image, and sigma to the error of that image.

        Args:
            network: Decoder.
            images: Training images.
        """
        mean = images.x.mean(0)
        start = networks.shared_by_bias(network, mean)
        networks.set_output_bias(network, self.likelihood.raw(start))
        error = (images.x - mean).square().mean()
        if self.config.sigma == "optimal":
            self.mean_squared_error.copy_(error)
        if self.config.sigma == "learned":
            self.log_sigma = nn.Parameter(0.5 * error.log())

    def sigma_terms(self) -> dict[str, Tensor]:
        """Log sigma for the history, if sigma changes during training."""
        changes = self.config.sigma in ("learned", "optimal")
        return {"log_sigma": torch.as_tensor(self._log_sigma()).detach()} if changes else {}

    def whole_phase(
        self,
        name: str,
        parameters: Sequence[nn.Parameter],
        decayed: Sequence[nn.Parameter] | None = None,
    ) -> Phase:
        """The phase that trains encoder, decoder and a learned sigma with its own learning rate.

        Args:
            name: Name of the phase.
            parameters: Parameters of the phase.
            decayed: Parameters with weight decay; None = all with more than one dimension.
        """
        if self.config.sigma != "learned":
            return Phase(name, parameters, decayed=decayed)
        pace = LEARNED_SIGMA_LEARNING_RATE / self.config.learning_rate
        return Phase(name, parameters, decayed=decayed, paces=((self.log_sigma, pace),))

    def observed(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The training images after static binarisation, which `observe` then leaves unchanged."""
        return self.observe(x, self.pixel_noise(x, rng)) if self.config.binarize == "static" else x

    def pixel_noise(self, x: Tensor, rng: torch.Generator) -> Tensor | None:
        """Uniform noise of the shape of `x` for the binarisation; None without binarisation."""
        if self.config.binarize == "none":
            return None
        return torch.rand(x.shape, generator=rng, device=rng.device).to(x.device)

    def observe(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """The images under the likelihood: a draw of Bernoulli(x), or x itself without noise."""
        return x if noise is None else (noise < x).to(x.dtype)

    @property
    def encoder_shape(self) -> ImageShape:
        """Shape of the encoder's input: one more channel in a conditional model."""
        channels, height, width = self.shape
        return ImageShape(channels + self.conditional, height, width)

    def with_label_plane(self, x: Tensor, y: Tensor | None) -> Tensor:
        """`x` (N, C, H, W) with the class as an additional channel in a conditional model.

        The channel is a learned linear map of the one-hot class; it works for every architecture.
        """
        if not self.conditional:
            return x
        plane = self.label_plane(self.one_hot(y))
        return torch.cat([x, plane.reshape(-1, 1, self.shape.height, self.shape.width)], 1)

    def decoder_inputs(self, num_latents: int) -> int:
        """Number of the decoder's inputs: the latents, plus the one-hot class if conditional."""
        return num_latents + (self.num_classes if self.conditional else 0)

    def with_one_hot(self, z: Tensor, y: Tensor | None) -> Tensor:
        """`z` (N, d) with the one-hot class appended in a conditional model."""
        return torch.cat([z, self.one_hot(y)], 1) if self.conditional else z

    def _log_sigma(self) -> Tensor | float:
        sigma = self.config.sigma
        if sigma == "learned":
            return self.log_sigma.clamp(min=LOG_SIGMA_FLOOR)
        if sigma == "optimal":
            return (0.5 * self.mean_squared_error.log()).clamp(min=LOG_SIGMA_FLOOR)
        assert isinstance(sigma, float)
        return math.log(sigma)
