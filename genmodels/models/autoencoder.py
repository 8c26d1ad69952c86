"""Autoencoder, plain or L2-regularised, that samples from an ex-post Gaussian mixture."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from genmodels import networks
from genmodels.base.ex_post import ExPostModel
from genmodels.base.image_likelihood import LikelihoodConfig
from genmodels.base.model import Images, Phase, evaluation_mode, scoring_batches
from genmodels.base.samplers import MAX_CODES, MixtureSampler
from genmodels.networks.shape import ImageShape


class Config(LikelihoodConfig):
    """Settings of kind `autoencoder`.

    Attributes:
        l2: Weight b of the penalty b / 2 * ||z||^2, in nats per squared unit; 0 = plain
            autoencoder. For a published b of an objective in squared errors, set b / (2 sigma^2).
        gmm_components: Components of the mixture that is fitted to the codes for sampling; in a
            conditional model, per class.
    """

    kind: Literal["autoencoder"]
    l2: Annotated[float, Field(ge=0)]
    gmm_components: Annotated[int, Field(ge=1)]


class Model(ExPostModel):
    """Minimises -log p(x | z) + b / 2 ||z||^2 with z = encoder(x).

    RAE-L2, Ghosh et al. 2020 (arXiv 1903.12436), section 3.1, with weight decay on the decoder
    only. There is no posterior density, so rate, ELBO and likelihood are undefined.
    """

    unit_normal_prior: ClassVar[bool] = False
    config: Config

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        options = config.network(norm="none", dropout=config.dropout)
        arch, latent_dim = config.architecture, config.latent_dim
        self.encoder = networks.downward(arch, self.encoder_shape, latent_dim, options)
        self.decoder = networks.upward(arch, self.decoder_inputs(latent_dim), shape, options)
        groups = num_classes if config.conditional else 1
        self.mixture = MixtureSampler(config.gmm_components, latent_dim, groups)

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights; the decoder and sigma start at the mean image."""
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)

    def phases(self) -> tuple[Phase, ...]:
        """One phase, with weight decay on the decoder only."""
        decayed = [p for p in self.decoder.parameters() if p.dim() > 1]
        return (self.whole_phase("autoencoder", list(self.parameters()), decayed),)

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Distortion plus the weighted squared length of the codes."""
        distortion, length = self._terms(self.observe(x, self.pixel_noise(x, rng)), y)
        return {
            "loss": (distortion + 0.5 * self.config.l2 * length).mean(),
            "distortion": distortion.detach().mean(),
            "code_squared_norm": length.detach().mean(),
            **self.sigma_terms(),
        }

    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Squared length of the codes, and distortion."""
        images = Images(self.observe(x, self.pixel_noise(x, rng)), y)
        with evaluation_mode(self):
            parts = [self._terms(*images.at(rows)) for rows in scoring_batches(len(x))]
        distortion, length = (torch.cat(column) for column in zip(*parts, strict=True))
        return {"code_squared_norm": length, "distortion": distortion}

    def _terms(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        z = self._code(x, y)
        distortion = -self.log_prob(x, self.decoder(self.with_one_hot(z, y)))
        return distortion, z.square().sum(1)

    def _code(self, x: Tensor, y: Tensor | None) -> Tensor:
        code: Tensor = self.encoder(self.with_label_plane(x, y))
        return code.float()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) to codes (N, latent_dim)."""
        with evaluation_mode(self):
            images = Images(x, labels)
            codes = [self._code(*images.at(rows)) for rows in scoring_batches(len(x))]
        return torch.cat(codes)

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """The codes (N, latent_dim), and None because they have no standard deviation.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Source of the binarisation noise.
            labels: (N,) classes, for a conditional model.
        """
        return self.encode(self.observe(x, self.pixel_noise(x, rng)), labels), None

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits the mixture to the codes of the training images."""
        rows = torch.randperm(len(images.x), generator=rng, device=rng.device)[:MAX_CODES]
        x, y = images.at(rows)
        codes = self.encode(self.observe(x, self.pixel_noise(x, rng)), y)
        self.mixture.fit(codes, rng.initial_seed(), y)

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) draws from the mixture, or from the mixture of each label."""
        return self.mixture.sample(n, rng, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes (N, latent_dim) to the likelihood's mean (N, C, H, W) in [0, 1], without noise."""
        with evaluation_mode(self):
            return self.likelihood.mean(self.decoder(self.with_one_hot(z, labels)))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the codes of the grey images, (N, C, H, W) in [0, 1]."""
        return self.decode(self.encode(x, labels), labels)
