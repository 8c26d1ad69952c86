"""Generative adversarial network; all variants are combinations of its options."""

import contextlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels import networks
from genmodels.base.augmentation import diffaugment
from genmodels.base.config import ModelConfig
from genmodels.base.model import (
    GenerativeModel,
    Images,
    Phase,
    evaluation_mode,
    normal,
    scoring_batches,
)
from genmodels.base.schedules import scheduled
from genmodels.networks.blocks import Norm, draw_weights
from genmodels.networks.normalisation import averaged_statistics, batch_norms, frozen_statistics
from genmodels.networks.shape import ImageShape
from genmodels.objectives.adversarial import LOSSES, LossName
from genmodels.objectives.penalties import (
    clip_weights,
    deviation_from_unit_norm,
    interpolated,
    squared_gradient_norm,
)

#: Number of batches for the batch norm statistics of averaged weights.
RECALIBRATION_BATCHES = 50


class Config(ModelConfig):
    """Settings of kind `gan`.

    Attributes:
        loss: GAN loss, a key of `LOSSES` in genmodels/objectives/adversarial.py.
        penalties: Gradient penalty. `r1` adds penalty_weight / 2 * E ||grad D||^2 on real images,
            `r2` on generated images, `r1_r2` on both; `gradient_penalty` adds penalty_weight * E
            (||grad D|| - 1)^2 at points between them.
        penalty_weight: Gamma (r1, r2) or lambda (gradient_penalty); 0 for penalties `none`.
        penalty_weight_end: Final / initial penalty weight (cosine schedule); 1 = constant.
        weight_clip: Bound of the absolute value of the discriminator's weights, applied after each
            of its updates; null = no clipping.
        discriminator_norm: Normalisation in the discriminator.
        generator_norm: Normalisation in the generator.
        discriminator_steps: Discriminator updates per generator update.
        augmentation: Augmentation of the discriminator's real and generated training images.
        adam_beta2_end: Adam's second beta at the end of the run (cosine schedule).
    """

    kind: Literal["gan"]
    loss: LossName
    penalties: Literal["none", "r1", "r2", "r1_r2", "gradient_penalty"]
    penalty_weight: Annotated[float, Field(ge=0)]
    penalty_weight_end: Annotated[float, Field(ge=0, le=1)]
    weight_clip: Annotated[float, Field(gt=0)] | None
    discriminator_norm: Norm
    generator_norm: Literal["none", "batch"]
    discriminator_steps: Annotated[int, Field(ge=1)]
    augmentation: Literal["none", "diffaugment"]
    adam_beta2_end: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _penalty_is_consistent(self) -> Self:
        if (self.penalties == "none") != (self.penalty_weight == 0):
            needed = "0" if self.penalties == "none" else "above 0"
            raise ValueError(
                f"penalty_weight {self.penalty_weight} contradicts penalties {self.penalties!r}, "
                f"which needs a penalty_weight of {needed}"
            )
        if self.penalties == "none" and self.penalty_weight_end != 1:
            raise ValueError(
                f"penalty_weight_end {self.penalty_weight_end} contradicts penalties 'none'; set "
                "penalty_weight_end: 1"
            )
        if self.penalties != "none" and self.discriminator_norm == "batch":
            raise ValueError(
                f"discriminator_norm 'batch' contradicts penalties {self.penalties!r}: batch norm "
                "couples the images of a batch, so the per-image gradient does not exist; set "
                "discriminator_norm: none or spectral"
            )
        return self

    @model_validator(mode="after")
    def _clipping_is_the_only_bound(self) -> Self:
        if self.weight_clip is None:
            return self
        if self.penalties != "none" or self.discriminator_norm == "spectral":
            raise ValueError(
                f"weight_clip {self.weight_clip} contradicts penalties {self.penalties!r} with "
                f"discriminator_norm {self.discriminator_norm!r}: both bound the discriminator's "
                "slope; set weight_clip: null, or penalties: none without spectral norm"
            )
        if self.loss != "wasserstein":
            raise ValueError(
                f"weight_clip {self.weight_clip} contradicts loss {self.loss!r}: clipped weights "
                "cannot reach the logits that this loss needs; set weight_clip: null or loss: "
                "wasserstein"
            )
        return self

    @model_validator(mode="after")
    def _critic_is_bounded(self) -> Self:
        penalised = self.penalties != "none" and self.penalty_weight_end > 0
        bounded = penalised or self.discriminator_norm == "spectral"
        if self.loss == "wasserstein" and self.weight_clip is None and not bounded:
            raise ValueError(
                "loss 'wasserstein' has no lower bound if the discriminator's slope is unbounded; "
                "set penalties with penalty_weight_end above 0, discriminator_norm: spectral, or "
                "weight_clip"
            )
        return self

    @model_validator(mode="after")
    def _norm_exists(self) -> Self:
        norms = (self.discriminator_norm, self.generator_norm)
        if self.architecture == "rnn" and norms != ("none", "none"):
            raise ValueError(
                f"architecture 'rnn' has no normalisation, and discriminator_norm is {norms[0]!r}, "
                f"generator_norm {norms[1]!r}; set both to none"
            )
        return self

    def betas_at(self, step: int) -> tuple[float, float]:
        """Adam's two betas at a step."""
        start, end = self.adam_beta2, self.adam_beta2_end
        return float(self.adam_beta1), scheduled("cosine", step, self.num_steps, start, end)

    def penalty_weight_at(self, step: int) -> float:
        """The weight of the penalty at a step."""
        start, end = self.penalty_weight, self.penalty_weight * self.penalty_weight_end
        return scheduled("cosine", step, self.num_steps, start, end)


class Model(GenerativeModel):
    """Generator G: N(0, I) to images; discriminator D: images to logits (Goodfellow et al. 2014).

    The networks use images in [-1, 1]; public methods convert from and to [0, 1].

    The inputs of a conditional generator are z and the one-hot class. A conditional discriminator
    is a projection, D(x, y) = f(x) + <e_y, phi(x)>, with phi the features below the linear output
    layer (Miyato & Koyama 2018, arXiv 1802.05637, Eq. 3). In training, a generated image has the
    class of the real image in the same row.
    """

    family: ClassVar[str] = "gan"
    config: Config
    class_counts: Tensor

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        if config.conditional:
            self.register_buffer("class_counts", torch.zeros(num_classes))
        # Dropout in the discriminator only; in the generator it would be noise in the images.
        up = config.network(norm=config.generator_norm, dropout=0.0)
        down = config.network(norm=config.discriminator_norm, dropout=config.dropout)
        classes = num_classes if config.conditional else 0
        inputs, arch = config.latent_dim + classes, config.architecture
        self.generator = networks.upward(arch, inputs, shape, up)
        self.discriminator = networks.downward(arch, shape, 1 + classes, down)

    @property
    def probabilistic(self) -> bool:
        """Whether a logit is the log-odds of "real" for a single image.

        It is not with batch norm, because the training batches are all real or all generated,
        while the running statistics mix both. It is not under augmentation, because the
        discriminator is trained on augmented images only.
        """
        config = self.config
        single = config.discriminator_norm != "batch" and config.augmentation == "none"
        return single and LOSSES[config.loss].probabilistic

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights; a conditional model stores the number of images of each class."""
        draw_weights(self, rng)
        if self.conditional:
            assert images.y is not None
            self.class_counts.copy_(images.y.bincount(minlength=self.num_classes))

    def phases(self) -> tuple[Phase, ...]:
        """The discriminator's updates, then the generator's."""
        return (
            Phase(
                "discriminator",
                list(self.discriminator.parameters()),
                repeats=self.config.discriminator_steps,
            ),
            Phase("generator", list(self.generator.parameters())),
        )

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The loss of one network; the loop freezes the parameters of the other one."""
        real = 2 * x - 1
        z = normal((len(x), self.config.latent_dim), rng, x.device)
        if phase == "generator":
            return {"loss": self._generator_loss(real, z, y, rng)}
        with torch.no_grad(), frozen_statistics(self.generator):
            fake = self._generate(z, y)
        if self.config.penalties == "none":
            precision: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        else:  # the penalty needs float32, and loss and penalty use the same forward pass
            precision = torch.autocast(x.device.type, enabled=False)
        with precision:
            return self._discriminator_terms(real, fake, y, step, rng)

    def _generator_loss(
        self, real: Tensor, z: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        loss = LOSSES[self.config.loss]
        with frozen_statistics(self.discriminator):
            logits_fake = self._augmented_logits(self._generate(z, y), y, rng)
            logits_real = torch.zeros_like(logits_fake)
            if loss.relativistic:
                with torch.no_grad():
                    logits_real = self._augmented_logits(real, y, rng)
        return loss.generator(logits_real, logits_fake).mean()

    def _discriminator_terms(
        self, real: Tensor, fake: Tensor, y: Tensor | None, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        config, loss = self.config, LOSSES[self.config.loss]
        real.requires_grad_(config.penalties in ("r1", "r1_r2"))
        fake.requires_grad_(config.penalties in ("r2", "r1_r2"))
        # Two forward passes: batch norm must not mix the statistics of real and generated images,
        # and on a CPU two small batches are faster than one large batch.
        logits_real = self._augmented_logits(real, y, rng)
        logits_fake = self._augmented_logits(fake, y, rng)
        penalties = {}
        if real.requires_grad:
            penalties["r1_penalty"] = squared_gradient_norm(logits_real, real).mean()
        if fake.requires_grad:
            penalties["r2_penalty"] = squared_gradient_norm(logits_fake, fake).mean()
        if config.penalties == "gradient_penalty":
            penalties["gradient_penalty"] = self._gradient_penalty(real, fake, y, rng)
        logged = {
            "logits_real": logits_real.mean(),
            "logits_fake": logits_fake.mean(),
            "logit_gap": (logits_real - logits_fake).mean(),
            "accuracy": loss.accuracy(logits_real, logits_fake),
            **penalties,
        }
        weight = config.penalty_weight_at(step)
        if config.penalty_weight_end != 1:
            logged["penalty_weight"] = torch.tensor(weight)
        factor = weight if config.penalties == "gradient_penalty" else 0.5 * weight
        total = loss.discriminator(logits_real, logits_fake).mean()
        for penalty in penalties.values():
            total = total + factor * penalty
        return {"loss": total} | {key: value.detach() for key, value in logged.items()}

    def _gradient_penalty(
        self, real: Tensor, fake: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        between = interpolated(real, fake, rng).requires_grad_()
        norm = squared_gradient_norm(self._augmented_logits(between, y, rng), between)
        return deviation_from_unit_norm(norm).mean()

    def after_update(self, phase: str) -> None:
        """Clips the discriminator's weights to `weight_clip`."""
        if phase == "discriminator" and self.config.weight_clip is not None:
            clip_weights(self.discriminator.parameters(), self.config.weight_clip)

    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Logits of the held-out and of the same number of generated images, and their gap."""
        z = self.sample_latent(len(x), rng, y)
        scores = []
        for rows in scoring_batches(len(x)):
            labels = None if y is None else y[rows]
            fake = self.decode(z[rows], labels)
            scores.append((self.discriminate(x[rows], labels), self.discriminate(fake, labels)))
        logits_real, logits_fake = (torch.cat(part) for part in zip(*scores, strict=True))
        gap = logits_real - logits_fake
        return {"logits_real": logits_real, "logits_fake": logits_fake, "logit_gap": gap}

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent_dim) to images (N, C, H, W) in [0, 1], in evaluation mode.

        A conditional model needs `labels` (N,).
        """
        with evaluation_mode(self.generator):
            return (self._generate(z, labels) + 1) / 2

    def discriminate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N,); a larger logit means "real".

        A conditional model needs `labels` (N,).
        """
        with evaluation_mode(self.discriminator):
            return self._logits(2 * x - 1, labels)

    def averaged_module(self) -> torch.nn.Module:
        """The generator; only the generator is used after training."""
        return self.generator

    def recalibrate(self, rng: torch.Generator) -> None:
        """Re-estimates the generator's batch norm statistics with its current weights."""
        if not batch_norms(self.generator):
            return
        num = self.config.batch_size
        with torch.no_grad(), averaged_statistics(self.generator):
            for _ in range(RECALIBRATION_BATCHES):
                z = self.sample_latent(num, rng)
                self._generate(z, self._training_labels(num, rng))

    def _training_labels(self, n: int, rng: torch.Generator) -> Tensor | None:
        """(n,) random classes with the training frequencies; None for an unconditional model."""
        if not self.conditional:
            return None
        frequencies = self.class_counts.to(rng.device)
        return torch.multinomial(frequencies, n, replacement=True, generator=rng).to(self.device)

    def _generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        if self.conditional:
            z = torch.cat([z, self.one_hot(y)], dim=1)
        return torch.tanh(self.generator(z).float())

    def _augmented_logits(self, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """Logits of images in [-1, 1] after the augmentation."""
        augmented = diffaugment(x, rng) if self.config.augmentation == "diffaugment" else x
        return self._logits(augmented, y)

    def _logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        outputs = self.discriminator(x).float()
        logits = outputs[:, 0]
        if self.conditional:
            logits = logits + (outputs[:, 1:] * self.one_hot(y)).sum(1)
        return logits
