"""Vector-quantised VAE with an autoregressive prior over the codes."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels import networks
from genmodels.base.code_prior import CodePrior
from genmodels.base.codebook import Codebook, perplexity, straight_through, used_codes
from genmodels.base.image_likelihood import LikelihoodConfig, LikelihoodModel
from genmodels.base.model import Images, Phase, evaluation_mode, scoring_batches
from genmodels.networks.shape import ImageShape

#: Number of training images whose encodings initialise the codebook.
CODEBOOK_IMAGES = 256


class Config(LikelihoodConfig):
    """Settings of kind `vq_vae`.

    An image is a grid of codes. `latent_dim` is the dimension of one code; z holds all codes.

    Attributes:
        num_codes: Number of codes in the codebook.
        commitment: Weight of the squared distance between encodings and codes, summed over the
            image, in nats per squared unit. The paper's 0.25 belongs to a sum of squared errors,
            which is 2 sigma^2 times the distortion in nats; here it is 0.25 / (2 sigma^2), 12.5 at
            sigma 0.1.
        codebook_decay: Decay of the codebook's moving averages per batch.
        revival_threshold: A code with fewer positions per batch (moving average) is replaced by an
            encoding of the batch; 0 = no replacement.
        prior_width: Hidden units of the prior's GRU.
        prior_learning_rate: Learning rate of the prior at step 0; `learning_rate_schedule`
            applies.
    """

    kind: Literal["vq_vae"]
    num_codes: Annotated[int, Field(ge=2)]
    commitment: Annotated[float, Field(ge=0)]
    codebook_decay: Annotated[float, Field(ge=0, lt=1)]
    revival_threshold: Annotated[float, Field(ge=0)]
    prior_width: Annotated[int, Field(ge=1)]
    prior_learning_rate: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _codes_are_local(self) -> Self:
        if self.head_depth:
            raise ValueError(
                f"head_depth {self.head_depth} contradicts kind 'vq_vae': a fully connected head "
                "would mix the positions of the grid; set head_depth: 0"
            )
        return self

    @model_validator(mode="after")
    def _codes_belong_to_the_weights(self) -> Self:
        if self.ema_half_life:
            raise ValueError(
                f"ema_half_life {self.ema_half_life} contradicts kind 'vq_vae': the codebook "
                "belongs to the trained encoder, not to the averaged one; set ema_half_life: 0"
            )
        return self


class Model(LikelihoodModel):
    """Encoder, nearest codes, decoder, and a GRU prior over the codes (van den Oord et al. 2017).

    arXiv 1711.00937. The loss is the first and third term of Eq. 3, distortion and commitment; the
    codebook is a moving average (appendix A.1). The paper trains the prior after the autoencoder.
    Here the prior has its own phase in every step, without a gradient to the autoencoder, so that
    snapshots show samples during the training.

    q(z | x) has all its mass on the codes nearest to the encodings. The rate is therefore
    -log p(codes), and -(distortion + rate) is a lower bound of log p(x).

    In a conditional model only the prior gets the class, because the grid of codes carries the
    class from the encoder to the decoder.
    """

    conditional_encoder: ClassVar[bool] = False
    config: Config

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        options = config.network(norm="none", dropout=config.dropout)
        arch, dim, grid = config.architecture, config.latent_dim, networks.grid_size(shape)
        self.encoder = networks.to_grid(arch, shape, dim, options)
        self.decoder = networks.from_grid(arch, dim, shape, options)
        self.codebook = Codebook(
            config.num_codes, dim, config.codebook_decay, config.revival_threshold
        )
        prior_classes = num_classes if config.conditional else 0
        self.prior = CodePrior(config.num_codes, grid, config.prior_width, prior_classes)

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights; the decoder starts at the mean image, the codebook at encodings."""
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)
        rows = torch.randperm(len(images.x), generator=rng)[:CODEBOOK_IMAGES]
        x = images.x[rows.to(images.x.device)]
        with evaluation_mode(self.encoder):
            encodings = self._encode(self.observe(x, self.pixel_noise(x, rng)))
        self.codebook.initialise(encodings.flatten(0, 1), rng)

    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder, then the prior on the same batch."""
        prior = list(self.prior.parameters())
        prior_ids = {id(parameter) for parameter in prior}
        others = [parameter for parameter in self.parameters() if id(parameter) not in prior_ids]
        return (
            self.whole_phase("vae", others),
            Phase("prior", prior, learning_rate=self.config.prior_learning_rate),
        )

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Distortion plus commitment, or the codes' negative log-probability under the prior."""
        x = self.observe(x, self.pixel_noise(x, rng))
        if phase == "prior":
            rate = self.prior.negative_log_prob(self._codes(x), self._condition(y)).mean()
            return {"loss": rate, "rate": rate.detach()}
        return self._autoencoder_step(x, rng)

    def _autoencoder_step(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        z = self._encode(x)
        codes = self.codebook.nearest(z)
        vectors = self.codebook.vectors[codes]
        distortion = -self.log_prob(x, self.decoder(straight_through(z, vectors))).mean()
        commitment = (z - vectors).square().flatten(1).sum(1).mean()
        logged = {
            "distortion": distortion.detach(),
            "commitment": commitment.detach(),
            "perplexity": perplexity(codes, self.config.num_codes),
            "used_codes": used_codes(codes, self.config.num_codes),
            **self.sigma_terms(),
        }
        if self.training:
            encodings = z.detach().flatten(0, 1)
            logged["replaced_codes"] = self.codebook.update(encodings, codes.flatten(), rng)
        return {"loss": distortion + self.config.commitment * commitment, **logged}

    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Distortion, rate under the current prior, and ELBO."""
        rate, distortion = self.rate_distortion(x, rng, y)
        return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}

    def rate_distortion(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The two terms of the negative ELBO; the binarisation is the only noise.

        All noise is drawn before the first forward pass, so that the values do not depend on the
        batch size.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Source of the binarisation noise.
            labels: (N,) classes, for a conditional model.

        Returns:
            Rate (N,), -log p(codes), and distortion (N,), nats per image.
        """
        observed = self.observe(x, self.pixel_noise(x, rng))
        condition = self._condition(labels)
        parts = []
        with evaluation_mode(self):
            for rows in scoring_batches(len(x)):
                images = observed[rows].to(self.device)
                codes = self._codes(images)
                batch_condition = None if condition is None else condition[rows]
                rate = self.prior.negative_log_prob(codes, batch_condition)
                output = self.decoder(self.codebook.vectors[codes])
                parts.append((rate, -self.log_prob(images, output)))
        rate, distortion = (torch.cat(column) for column in zip(*parts, strict=True))
        return rate, distortion

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, positions * latent_dim): vectors of codes from the prior, in row-major order."""
        codes = self.prior.sample(n, rng, self._condition(labels))
        return self.codebook.vectors[codes].flatten(1)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The likelihood's mean (N, C, H, W) in [0, 1] at the codes nearest to z.

        Args:
            z: (N, positions * latent_dim), any values, for example an interpolation of codes.
            labels: Ignored, because the decoder is unconditional.
        """
        codes = self.codebook.nearest(z.unflatten(1, (-1, self.config.latent_dim)))
        return self._images(codes)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the codes of the images, (N, C, H, W) in [0, 1].

        The encoder gets the grey images even if the model is trained on binarised ones. The labels
        are ignored.
        """
        return self._images(self._codes(x))

    def _encode(self, x: Tensor) -> Tensor:
        encodings: Tensor = self.encoder(x)
        return encodings.float()

    def _codes(self, x: Tensor) -> Tensor:
        # Without dropout, so that the prior learns the codes of the evaluation.
        with evaluation_mode(self.encoder):
            return self.codebook.nearest(self._encode(x))

    def _images(self, codes: Tensor) -> Tensor:
        with evaluation_mode(self.decoder):
            return self.likelihood.mean(self.decoder(self.codebook.vectors[codes]))

    def _condition(self, labels: Tensor | None) -> Tensor | None:
        return self.one_hot(labels) if self.conditional else None
