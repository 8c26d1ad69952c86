"""The base VAE: distortion and rate, nats per image; a kind overrides one hook, its regulariser."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genmodels import networks
from genmodels.base import (
    SCORING_BATCH,
    GenerativeModel,
    ModelConfig,
    Phase,
    evaluation_mode,
    normal,
)
from genmodels.divergences import kl_to_standard_normal
from genmodels.likelihoods import Bernoulli, Gaussian, Likelihood
from genmodels.networks.blocks import draw_weights
from genmodels.shape import ImageShape

LOGVAR_BOUND = 10.0


class VAEConfig(ModelConfig):
    """The settings of every continuous VAE kind.

    Attributes:
        likelihood: p(x | z).
        sigma: Standard deviation of a pixel; used by the gaussian likelihood, null otherwise.
        binarize: `dynamic` draws each pixel from Bernoulli(x) anew at every look at an image.
    """

    likelihood: Literal["bernoulli", "gaussian"]
    sigma: Annotated[float, Field(gt=0)] | None
    binarize: Literal["dynamic", "none"]

    @model_validator(mode="after")
    def _likelihood_fits_data(self) -> Self:
        if (self.likelihood == "gaussian") != (self.sigma is not None):
            needs = "a number" if self.likelihood == "gaussian" else "null"
            raise ValueError(f"likelihood {self.likelihood!r} needs sigma: {needs}")
        if self.likelihood == "gaussian" and self.binarize != "none":
            raise ValueError("likelihood 'gaussian' models grey values: set binarize: none")
        return self


class VAEBase(GenerativeModel):
    """q(z | x) = N(mean, diag exp(logvar)), p(z) = N(0, I), decoder p(x | z).

    Kingma & Welling 2014 (arXiv 1312.6114).

    Without batch norm: the objective of an image must not depend on its batch mates.
    """

    family: ClassVar[str] = "vae"
    config: VAEConfig

    def __init__(self, config: VAEConfig, shape: ImageShape) -> None:
        super().__init__(config, shape)
        options = config.network(norm="none", dropout=config.dropout, leak=0.0)
        arch = config.architecture
        self.encoder = networks.downward(arch, shape, 2 * config.latent_dim, options)
        self.decoder = networks.upward(arch, config.latent_dim, shape, options)

    @property
    def likelihood(self) -> Likelihood:
        """p(x | z)."""
        sigma = self.config.sigma
        return Bernoulli() if sigma is None else Gaussian(sigma)

    @property
    def observation(self) -> str:
        """What the likelihood is a likelihood of; values of two kinds never share a column."""
        if self.config.likelihood == "gaussian":
            return "gaussian"
        return "bernoulli_grey" if self.config.binarize == "none" else "bernoulli_binary"

    def initialise(self, rng: torch.Generator, mean_image: Tensor) -> None:
        """Draws all weights; the decoder's output bias starts at the logit of the mean image.

        A bias per pixel where the last layer is dense, per channel where it is convolutional.
        """
        draw_weights(self, rng)
        last = [m for m in self.decoder if isinstance(m, nn.Linear | nn.ConvTranspose2d)][-1]
        per_bias = mean_image if isinstance(last, nn.Linear) else mean_image.mean((1, 2))
        start = torch.logit(per_bias.flatten().clamp(0.001, 0.999))
        last.bias = nn.Parameter(start.to(last.weight))

    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("vae", list(self.parameters())),)

    @abstractmethod
    def regularizer(self, rate: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        """What is added to the distortion.

        Args:
            rate: (N,) KL(q(z | x) || p(z)), nats.
            step: From 0.

        Returns:
            (N,) or a scalar, nats; and the schedule values to log.
        """

    def training_step(
        self, x: Tensor, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Minimises E_q[-log p(x | z)] plus the regulariser."""
        x = self.observe(x, self.pixel_noise(x, rng))
        rate, distortion = self._terms(x, normal((len(x), self.config.latent_dim), rng, x.device))
        penalty, scheduled = self.regularizer(rate, step)
        logged = {"distortion": distortion.mean(), "rate": rate.mean()}
        logged["elbo"] = -(logged["distortion"] + logged["rate"])
        weights = {key: torch.tensor(value) for key, value in scheduled.items()}
        return {"loss": (distortion + penalty).mean(), **logged, **weights}

    def validation_step(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Distortion, rate and ELBO at weight 1, whatever the schedules say."""
        rate, distortion = self.rate_distortion(x, rng)
        return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The two halves of the negative ELBO.

        All noise is drawn first, image by image in order, so that the values do not depend on how
        the split is cut into batches.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Binarisation noise, then one latent draw per image.

        Returns:
            Rate (N,) in closed form and distortion (N,) from one draw of z, nats per image.
        """
        noise = self.pixel_noise(x, rng)
        epsilon = normal((len(x), self.config.latent_dim), rng, self.device)
        parts = []
        with evaluation_mode(self):
            for start in range(0, len(x), SCORING_BATCH):
                piece = slice(start, start + SCORING_BATCH)
                observed = self.observe(x[piece], None if noise is None else noise[piece])
                parts.append(self._terms(observed.to(self.device), epsilon[piece]))
        rate, distortion = (torch.cat(column) for column in zip(*parts, strict=True))
        return rate, distortion

    def pixel_noise(self, x: Tensor, rng: torch.Generator) -> Tensor | None:
        """Uniform noise like `x` for the binarisation, or None where there is none."""
        if self.config.binarize == "none":
            return None
        return torch.rand(x.shape, generator=rng, device=rng.device).to(x.device)

    def observe(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """What the likelihood sees: x itself, or a draw of Bernoulli(x)."""
        return x if noise is None else (noise < x).to(x.dtype)

    def _terms(self, x: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self._posterior(x)
        z = mean + (0.5 * logvar).exp() * epsilon
        distortion = -self.likelihood.log_prob(x, self.decoder(z))
        return kl_to_standard_normal(mean, logvar).sum(1), distortion

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoder(x).float().chunk(2, dim=1)
        return mean, logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to the posterior's mean and log-variance, each (N, latent_dim)."""
        with evaluation_mode(self):
            return self._posterior(x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, latent_dim) to the likelihood's mean (N, C, H, W) in [0, 1]: no draws."""
        with evaluation_mode(self):
            return self.likelihood.mean(self.decoder(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decoder mean at the posterior mean of the images as they are, (N, C, H, W) in [0, 1].

        A model of binarised images sees the grey ones here: their expectation, so that the
        reconstruction is no lottery.
        """
        return self.decode(self.encode(x)[0])
