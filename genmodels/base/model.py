"""What every model is: a config without defaults, phases, a training step, a sampler."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genmodels.base.schedules import Form, scheduled
from genmodels.networks.blocks import Activation, NetworkOptions, Norm
from genmodels.networks.shape import ImageShape

#: Images per forward pass when a whole split is scored.
SCORING_BATCH = 500


class Images(NamedTuple):
    """Images and, where the data has them, their classes.

    Attributes:
        x: (N, C, H, W) float32 in [0, 1].
        y: (N,) int64 from 0, or None.
    """

    x: Tensor
    y: Tensor | None

    def at(self, index: slice | Tensor) -> "Images":
        """Some of them, with their classes."""
        return Images(self.x[index], None if self.y is None else self.y[index])


class Stage(BaseModel):
    """From a step on, the learning rate is so many times the first one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    step: Annotated[int, Field(ge=0)]
    factor: Annotated[float, Field(gt=0)]


class ModelConfig(BaseModel):
    """The settings that every kind has.

    Frozen and strict; no field has a default, because a default in code is a setting that neither
    DVC nor MLflow can see.

    Attributes:
        num_steps: Rounds of all phases.
        batch_size: Images per batch.
        learning_rate: Adam's step size at step 0.
        learning_rate_schedule: How it goes to its end over the run; or a list of stages.
        learning_rate_end: The last learning rate as a fraction of the first; 1 where constant or
            in stages.
        adam_beta1: Decay of the first moment.
        adam_beta2: Decay of the second moment.
        weight_decay: Decoupled weight decay (AdamW) of weight matrices, not of biases and norms.
        clip_norm: The gradient norm is clipped to this; null for never.
        ema_half_life: Half-life in images of the averaged weights; 0 for none.
        architecture: The networks' file in genmodels/networks/.
        width: Hidden units (mlp, rnn) or channels at the finest resolution (conv, resnet).
        depth: Hidden layers (mlp, rnn), convolutions (conv) or residual blocks (resnet) per
            resolution.
        head_width: Units of the fully connected layers beside the convolutions (conv, resnet).
        head_depth: How many of them; 0 for none.
        activation: Of the hidden layers; an rnn has its own between its layers.
        dropout: Probability of dropping a hidden activation (mlp, rnn) or channel (conv, resnet).
        latent_dim: Dimensions of z.
        conditional: Whether the model is told the class of each image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    num_steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_schedule: Form | Annotated[list[Stage], Field(min_length=1)]
    learning_rate_end: Annotated[float, Field(ge=0, le=1)]
    adam_beta1: Annotated[float, Field(ge=0, lt=1)]
    adam_beta2: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    ema_half_life: Annotated[int, Field(ge=0)]
    architecture: Literal["mlp", "conv", "resnet", "rnn"]
    width: Annotated[int, Field(ge=1)]
    depth: Annotated[int, Field(ge=1)]
    head_width: Annotated[int, Field(ge=1)]
    head_depth: Annotated[int, Field(ge=0)]
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]
    latent_dim: Annotated[int, Field(ge=1)]
    conditional: bool

    @model_validator(mode="after")
    def _schedule_is_consistent(self) -> Self:
        schedule = self.learning_rate_schedule
        if schedule not in ("linear", "cosine") and self.learning_rate_end != 1:
            form = schedule if isinstance(schedule, str) else "stages"
            raise ValueError(
                f"learning_rate_end {self.learning_rate_end} contradicts learning_rate_schedule "
                f"{form!r}; set it to 1 or choose linear or cosine"
            )
        if isinstance(schedule, list) and any(a.step >= b.step for a, b in pairwise(schedule)):
            raise ValueError("learning_rate_schedule: the steps of its stages must rise")
        return self

    @model_validator(mode="after")
    def _head_belongs_to_convolutions(self) -> Self:
        if self.architecture in ("mlp", "rnn") and self.head_depth:
            raise ValueError(
                f"head_depth {self.head_depth} contradicts architecture {self.architecture!r}, "
                "which has no head beside its layers; set it to 0 and use depth"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """What is allowed and probably not meant, a line each, for whoever starts a training."""
        return ()

    def network(self, *, norm: Norm, dropout: float) -> NetworkOptions:
        """How the networks of this config are built."""
        return NetworkOptions(
            width=self.width,
            depth=self.depth,
            head_width=self.head_width,
            head_depth=self.head_depth,
            norm=norm,
            dropout=dropout,
            activation=self.activation,
        )

    def learning_rate_factor(self, step: int) -> float:
        """The learning rate of a step as a fraction of the first."""
        schedule = self.learning_rate_schedule
        if isinstance(schedule, str):
            return scheduled(schedule, step, self.num_steps, 1.0, self.learning_rate_end)
        reached = [stage.factor for stage in schedule if stage.step <= step]
        return reached[-1] if reached else 1.0

    def betas_at(self, step: int) -> tuple[float, float]:
        """Adam's two betas at a step, as floats: torch takes an integer for neither."""
        return float(self.adam_beta1), float(self.adam_beta2)


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step.

    Attributes:
        name: What `training_step` is told, and the prefix of what it logs.
        parameters: What this phase updates; every parameter of a model is in exactly one phase.
        repeats: Updates per step, each with a fresh batch (the discriminator steps of a GAN).
        learning_rate: At step 0, where it is not the config's; the config's schedule applies.
        betas: Adam's, where they are not the config's.
        decayed: What weight decay shrinks; None for every parameter of more than one dimension.
        faster: Parameters whose learning rate is so many times the phase's.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    repeats: int = 1
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None
    decayed: Sequence[nn.Parameter] | None = None
    faster: tuple[tuple[nn.Parameter, float], ...] = ()


class GenerativeModel(nn.Module, ABC):
    """A model that the loop can train and the evaluation can judge.

    Attributes:
        config: Its settings.
        shape: The images' shape.
        num_classes: Classes of the data; 0 where it has no labels.
        family: `vae` or `gan`, the group in which reports compare it.
    """

    family: ClassVar[str]

    def __init__(self, config: ModelConfig, shape: ImageShape, num_classes: int) -> None:
        super().__init__()
        if config.conditional and num_classes < 2:
            raise ValueError(
                f"conditional: true needs labelled images of at least 2 classes, and the data has "
                f"{num_classes or 'no labels'}"
            )
        self.config = config
        self.shape = shape
        self.num_classes = num_classes

    @abstractmethod
    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights.

        Args:
            rng: The only source of randomness, on the CPU.
            images: The training images, where a decoder or a codebook starts, on the model's
                device.
        """

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The optimisers' turns, in their order within a step."""

    @abstractmethod
    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """One forward pass of a phase.

        Args:
            x: (N, C, H, W) in [0, 1].
            y: (N,) classes of a conditional model, None otherwise.
            phase: A phase's name.
            step: From 0; schedules depend on it.
            rng: Freshly seeded for this update.

        Returns:
            Scalars: `loss` is minimised, the rest is logged as `<phase>/<key>`.
        """

    def after_update(self, phase: str) -> None:
        """Called after each optimiser step; the place for constraints on weights."""

    @abstractmethod
    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """What is watched on held-out images, at the final objective whatever the schedules say.

        Args:
            x: (N, C, H, W) in [0, 1].
            y: (N,) classes of a conditional model, None otherwise.
            rng: The source of its noise.

        Returns:
            (N,) values per image, logged as the mean `valid/<key>`; the last one is the headline.
        """

    def observed(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """What the model is trained on instead of x (N, C, H, W): asked once, before training."""
        return x

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits what samples and is not trained: called before samples are drawn in training.

        Args:
            images: The training images.
            rng: The source of its noise.
        """

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) draws from the prior N(0, I), the same for the same rng.

        Args:
            n: How many.
            rng: The source of the noise.
            labels: (n,) classes, for a prior that depends on them.
        """
        return normal((n, self.config.latent_dim), rng, self.device)

    @abstractmethod
    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, ...) to images (N, C, H, W) in [0, 1], in evaluation mode.

        A conditional model needs `labels` (N,).
        """

    def sample(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W) in [0, 1], in evaluation mode; the same rng gives the same images.

        Args:
            n: How many.
            rng: The source of the noise.
            labels: (n,) the classes wanted of a conditional model; without them it goes through
                its classes in turn.
        """
        labels = self.labels_or_cycle(n, labels)
        return self.decode(self.sample_latent(n, rng, labels), labels)

    def labels_or_cycle(self, n: int, labels: Tensor | None) -> Tensor | None:
        """(n,) the labels, by default 0, 1, 2, ..., 0, 1, ...; None where there is no condition."""
        if not self.conditional:
            return None
        if labels is None:
            return torch.arange(n, device=self.device) % self.num_classes
        return labels.to(self.device)

    def one_hot(self, labels: Tensor | None) -> Tensor:
        """(N,) classes to (N, num_classes) zeros and ones.

        Raises:
            ValueError: There are no labels.
        """
        if labels is None:
            raise ValueError("a conditional model needs labels")
        return F.one_hot(labels.to(self.device), self.num_classes).float()

    @property
    def conditional(self) -> bool:
        """Whether the model is told the classes."""
        return self.config.conditional

    def averaged_module(self) -> nn.Module:
        """The part whose weights the EMA averages."""
        return self

    def recalibrate(self, rng: torch.Generator) -> None:
        """Re-estimates what averaged weights make stale: batch norm statistics."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule's mode is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def normal(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal noise drawn on the generator's device, then moved."""
    return torch.randn(tuple(shape), generator=rng, device=rng.device).to(device)
