"""Plain and L2-regularised autoencoder that samples from an ex-post Gaussian mixture."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from genmodels import networks
from genmodels.base.image_likelihood import LikelihoodConfig, LikelihoodModel, pieces
from genmodels.base.model import Images, Phase, evaluation_mode
from genmodels.base.samplers import MAX_CODES, MixtureSampler
from genmodels.networks.shape import ImageShape


class Config(LikelihoodConfig):
    """Settings of kind `autoencoder`.

    Attributes:
        l2: b, nats: the cost of a code is b / 2 times its squared length; 0 is a plain autoencoder.
            A published b of an objective in squared errors is 1 / (2 sigma^2) times as large here.
        gmm_components: Of the mixture that is fitted to the codes and sampled from; of a
            conditional one, of the mixture of each class.
    """

    kind: Literal["autoencoder"]
    l2: Annotated[float, Field(ge=0)]
    gmm_components: Annotated[int, Field(ge=1)]


class Model(LikelihoodModel):
    """Minimises -log p(x | z) + b / 2 ||z||^2 with z = encoder(x).

    RAE-L2, Ghosh et al. 2020 (arXiv 1903.12436), section 3.1, with the weight decay on the decoder
    alone. There is no posterior density, so rate, ELBO and likelihood do not exist.
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
        """Draws all weights; decoder and sigma start at the mean image."""
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)

    def phases(self) -> tuple[Phase, ...]:
        """One phase; the weight decay is the decoder's."""
        decayed = [p for p in self.decoder.parameters() if p.dim() > 1]
        return (self.whole_phase("autoencoder", list(self.parameters()), decayed),)

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The distortion and the length of the codes."""
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
        """Squared length of the codes, and the distortion."""
        seen = Images(self.observe(x, self.pixel_noise(x, rng)), y)
        with evaluation_mode(self):
            parts = [self._terms(*seen.at(piece)) for piece in pieces(len(x))]
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
            codes = [self._code(*Images(x, labels).at(piece)) for piece in pieces(len(x))]
        return torch.cat(codes)

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """The codes (N, latent_dim), which have no deviation.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Binarisation noise.
            labels: (N,) classes, for a conditional model.
        """
        return self.encode(self.observe(x, self.pixel_noise(x, rng)), labels), None

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits the mixture to the codes of the training images."""
        kept = torch.randperm(len(images.x), generator=rng, device=rng.device)[:MAX_CODES]
        x, y = images.at(kept)
        codes = self.encode(self.observe(x, self.pixel_noise(x, rng)), y)
        self.mixture.fit(codes, rng.initial_seed(), y)

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) draws from the mixture of the labels, where the model is conditional."""
        return self.mixture.sample(n, rng, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes (N, latent_dim) to the likelihood's mean (N, C, H, W) in [0, 1]: no draws."""
        with evaluation_mode(self):
            return self.likelihood.mean(self.decoder(self.with_one_hot(z, labels)))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the code of the images as they are, (N, C, H, W) in [0, 1]."""
        return self.decode(self.encode(x, labels), labels)
