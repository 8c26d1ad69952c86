"""Generative adversarial network: one kind, its variants are orthogonal options."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels import networks
from genmodels.adversarial import non_saturating_discriminator, non_saturating_generator
from genmodels.base import (
    SCORING_BATCH,
    GenerativeModel,
    ModelConfig,
    Phase,
    evaluation_mode,
    normal,
)
from genmodels.networks.blocks import Norm, batch_norms, draw_weights, still_statistics
from genmodels.penalties import squared_gradient_norm
from genmodels.shape import ImageShape

#: Batches from which batch norm statistics are re-estimated for averaged weights.
RECALIBRATION_BATCHES = 50


class Config(ModelConfig):
    """Settings of kind `gan`.

    Attributes:
        loss: The game; `non_saturating` is Goodfellow et al. 2014.
        penalties: `r1` adds penalty_weight / 2 * E ||grad D(x_real)||^2 (Mescheder et al. 2018).
        penalty_weight: Gamma of the penalty; 0 without one.
        discriminator_norm: Normalisation in the discriminator.
        generator_norm: Normalisation in the generator.
        discriminator_steps: Discriminator updates per generator update.
    """

    kind: Literal["gan"]
    loss: Literal["non_saturating"]
    penalties: Literal["none", "r1"]
    penalty_weight: Annotated[float, Field(ge=0)]
    discriminator_norm: Norm
    generator_norm: Norm
    discriminator_steps: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _options_fit_together(self) -> Self:
        if self.penalties != "none" and self.discriminator_norm == "batch":
            raise ValueError(
                f"discriminator_norm 'batch' with penalties {self.penalties!r}: batch norm couples "
                "the images of a batch, so the per-image gradient does not exist; "
                "set discriminator_norm: none"
            )
        if (self.penalties == "none") != (self.penalty_weight == 0):
            needs = "0" if self.penalties == "none" else "above 0"
            raise ValueError(f"penalties {self.penalties!r} needs a penalty_weight of {needs}")
        return self


class Model(GenerativeModel):
    """Generator G: N(0, I) to images; discriminator D: images to logits (Goodfellow et al. 2014).

    Inside, images are in [-1, 1]; they are mapped once on entry and once on exit.
    """

    family: ClassVar[str] = "gan"
    config: Config

    def __init__(self, config: Config, shape: ImageShape) -> None:
        super().__init__(config, shape)
        # Dropout regularises the discriminator alone: in the generator it would be noise to learn.
        up = config.network(norm=config.generator_norm, dropout=0.0, leak=0.0)
        down = config.network(norm=config.discriminator_norm, dropout=config.dropout, leak=0.2)
        self.generator = networks.upward(config.architecture, config.latent_dim, shape, up)
        self.discriminator = networks.downward(config.architecture, shape, 1, down)

    @property
    def probabilistic(self) -> bool:
        """Whether a logit is the log-odds of "real" for an image by itself.

        Every loss of this kind is a logistic one, but with batch norm the discriminator was trained
        on batches that were all real or all generated, and its scale for a single image, from
        running statistics of both, is another one.
        """
        return self.config.discriminator_norm != "batch"

    def initialise(self, rng: torch.Generator, mean_image: Tensor) -> None:
        """Draws all weights; the mean image is not used."""
        draw_weights(self, rng)

    def phases(self) -> tuple[Phase, ...]:
        """The discriminator's turns, then the generator's."""
        return (
            Phase(
                "discriminator",
                list(self.discriminator.parameters()),
                repeats=self.config.discriminator_steps,
            ),
            Phase("generator", list(self.generator.parameters())),
        )

    def training_step(
        self, x: Tensor, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The loss of one player; the other's parameters are frozen by the loop."""
        z = normal((len(x), self.config.latent_dim), rng, x.device)
        if phase == "generator":
            with still_statistics(self.discriminator):
                logits = self._logits(self._generate(z))
            return {"loss": non_saturating_generator(logits)}
        with torch.no_grad(), still_statistics(self.generator):
            fake = self._generate(z)
        return self._discriminator_step(2 * x - 1, fake)

    def _discriminator_step(self, real: Tensor, fake: Tensor) -> Mapping[str, Tensor]:
        penalised = self.config.penalties == "r1"
        real.requires_grad_(penalised)
        # Two forwards, not one of both: batch norm must not mix real and generated statistics.
        logits_real, logits_fake = self._logits(real), self._logits(fake)
        loss = non_saturating_discriminator(logits_real, logits_fake)
        logged = {
            "logits_real": logits_real.detach().mean(),
            "logits_fake": logits_fake.detach().mean(),
            "accuracy": 0.5
            * ((logits_real >= 0).float().mean() + (logits_fake < 0).float().mean()),
        }
        if penalised:
            norm = squared_gradient_norm(logits_real, real).mean()
            loss = loss + 0.5 * self.config.penalty_weight * norm
            logged["r1_penalty"] = norm.detach()
        return {"loss": loss, **logged}

    def validation_step(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Logits on held-out and on as many generated images, and their gap."""
        z = self.sample_latent(len(x), rng)
        # Batch by batch: a whole split at once would take gigabytes for larger images.
        pieces = zip(x.split(SCORING_BATCH), z.split(SCORING_BATCH), strict=True)
        scores = [(self.discriminate(a), self.discriminate(self.decode(b))) for a, b in pieces]
        logits_real, logits_fake = (torch.cat(part) for part in zip(*scores, strict=True))
        gap = logits_real - logits_fake
        return {"logits_real": logits_real, "logits_fake": logits_fake, "logit_gap": gap}

    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, latent_dim) to images (N, C, H, W) in [0, 1]."""
        with evaluation_mode(self.generator):
            return (self._generate(z) + 1) / 2

    def discriminate(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N,); positive means real."""
        with evaluation_mode(self.discriminator):
            return self._logits(2 * x - 1)

    def averaged_module(self) -> torch.nn.Module:
        """The generator: the discriminator has no use for an average."""
        return self.generator

    def recalibrate(self, rng: torch.Generator) -> None:
        """Re-estimates the generator's batch norm statistics, which belong to other weights."""
        norms = batch_norms(self.generator)
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        training = self.generator.training
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        self.generator.train()
        with torch.no_grad():
            for _ in range(RECALIBRATION_BATCHES):
                self._generate(self.sample_latent(self.config.batch_size, rng))
        self.generator.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def _generate(self, z: Tensor) -> Tensor:
        return torch.tanh(self.generator(z).float())

    def _logits(self, x: Tensor) -> Tensor:
        return self.discriminator(x).float().squeeze(1)
