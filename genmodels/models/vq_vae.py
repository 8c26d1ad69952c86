"""Vector-quantised VAE with an autoregressive prior over its codes."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels import networks
from genmodels.base.code_prior import CodePrior
from genmodels.base.codebook import Codebook, perplexity, straight_through, used_codes
from genmodels.base.image_likelihood import LikelihoodConfig, LikelihoodModel, pieces
from genmodels.base.model import Images, Phase, evaluation_mode
from genmodels.networks.shape import ImageShape

#: Training images whose encodings the codebook starts at.
CODEBOOK_IMAGES = 256


class Config(LikelihoodConfig):
    """Settings of kind `vq_vae`.

    `latent_dim` is the dimension of one code; an image is a grid of codes, and z is all of them.

    Attributes:
        num_codes: Codes in the codebook.
        commitment: Nats per squared distance between an encoding and its code, both summed over
            the image. The paper's 0.25 belongs to a sum of squared errors, which is 2 sigma^2
            times the distortion in nats: 0.25 / (2 sigma^2) here, 12.5 at sigma 0.1.
        codebook_decay: What a batch leaves of the codes' moving averages.
        revival_threshold: A code that fewer positions of a batch have, as a moving average, is
            replaced by an encoding of the batch; 0 for never.
        prior_width: Hidden units of the prior's GRU.
        prior_learning_rate: Of the prior, at step 0; it follows `learning_rate_schedule`.
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
                f"head_depth {self.head_depth} contradicts kind 'vq_vae': its codes lie on a grid, "
                "and a fully connected head would mix the positions; set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _codes_belong_to_the_weights(self) -> Self:
        if self.ema_half_life:
            raise ValueError(
                f"ema_half_life {self.ema_half_life} contradicts kind 'vq_vae': the codebook, an "
                "average itself, follows the trained encoder and not the averaged one; set it to 0"
            )
        return self


class Model(LikelihoodModel):
    """Encoder, nearest codes, decoder, and a GRU over the codes (van den Oord et al. 2017).

    arXiv 1711.00937. Minimises the first and third term of Eq. 3, the distortion and the
    commitment; the codebook follows by moving averages (appendix A.1). The paper trains its prior
    afterwards; here it learns in a phase of its own beside the autoencoder, with no influence on
    it, so that samples can be watched and one loop does it all.

    q(z | x) is all on the codes nearest to the encodings. The rate is therefore -log p(codes), and
    -(distortion + rate) is a lower bound of log p(x).

    A conditional one tells the prior the class. Encoder and decoder are not told: a grid of codes
    keeps what they need, and the codes carry the class into the image.
    """

    encoder_is_told: ClassVar[bool] = False
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
        told = num_classes if config.conditional else 0
        self.prior = CodePrior(config.num_codes, grid, config.prior_width, told)

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights; the decoder starts at the mean image, the codebook at encodings."""
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)
        chosen = torch.randperm(len(images.x), generator=rng)[:CODEBOOK_IMAGES]
        x = images.x[chosen.to(images.x.device)]
        with evaluation_mode(self.encoder):
            encodings = self._encode(self.observe(x, self.pixel_noise(x, rng)))
        self.codebook.initialise(encodings.flatten(0, 1), rng)

    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder's turn, then the prior's, on the same batch."""
        prior = list(self.prior.parameters())
        mine = {id(parameter) for parameter in prior}
        others = [parameter for parameter in self.parameters() if id(parameter) not in mine]
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
        """Distortion, rate under the prior as it is by now, and ELBO."""
        rate, distortion = self.rate_distortion(x, rng, y)
        return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}

    def rate_distortion(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The two halves of the negative ELBO, without a draw but for the binarisation.

        All noise is drawn first, so that the values do not depend on how the split is cut into
        batches.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Binarisation noise.
            labels: (N,) classes, for a conditional model.

        Returns:
            Rate (N,), -log p(codes), and distortion (N,), nats per image.
        """
        observed = self.observe(x, self.pixel_noise(x, rng))
        condition = self._condition(labels)
        parts = []
        with evaluation_mode(self):
            for piece in pieces(len(x)):
                images = observed[piece].to(self.device)
                codes = self._codes(images)
                told = None if condition is None else condition[piece]
                rate = self.prior.negative_log_prob(codes, told)
                output = self.decoder(self.codebook.vectors[codes])
                parts.append((rate, -self.log_prob(images, output)))
        rate, distortion = (torch.cat(column) for column in zip(*parts, strict=True))
        return rate, distortion

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, positions * latent_dim): the vectors of codes drawn from the prior, row by row."""
        codes = self.prior.sample(n, rng, self._condition(labels))
        return self.codebook.vectors[codes].flatten(1)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The likelihood's mean (N, C, H, W) in [0, 1] at the codes nearest to z.

        Args:
            z: (N, positions * latent_dim), any values: between two grids of codes, say.
            labels: Not used, the codes say it all.
        """
        codes = self.codebook.nearest(z.unflatten(1, (-1, self.config.latent_dim)))
        return self._images(codes)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the codes of the images as they are, (N, C, H, W) in [0, 1].

        A model of binarised images sees the grey ones here; the labels are not used.
        """
        return self._images(self._codes(x))

    def _encode(self, x: Tensor) -> Tensor:
        encodings: Tensor = self.encoder(x)
        return encodings.float()

    def _codes(self, x: Tensor) -> Tensor:
        # Never with dropout: the prior learns the codes that an evaluation will give it.
        with evaluation_mode(self.encoder):
            return self.codebook.nearest(self._encode(x))

    def _images(self, codes: Tensor) -> Tensor:
        with evaluation_mode(self.decoder):
            return self.likelihood.mean(self.decoder(self.codebook.vectors[codes]))

    def _condition(self, labels: Tensor | None) -> Tensor | None:
        return self.one_hot(labels) if self.conditional else None
