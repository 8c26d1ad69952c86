"""What every model is: a config without defaults, phases, a training step, a sampler."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genmodels.networks.blocks import NetworkOptions, Norm
from genmodels.schedules import Form, scheduled
from genmodels.shape import ImageShape

#: Images per forward pass when a whole split is scored.
SCORING_BATCH = 500


class ModelConfig(BaseModel):
    """The settings that every kind has.

    Frozen and strict; no field has a default, because a default in code is a setting that neither
    DVC nor MLflow can see.

    Attributes:
        num_steps: Rounds of all phases.
        batch_size: Images per batch.
        learning_rate: Adam's step size at step 0.
        learning_rate_schedule: How it goes to its end over the run.
        learning_rate_end: The last learning rate as a fraction of the first; 1 where constant.
        adam_beta1: Decay of the first moment.
        adam_beta2: Decay of the second moment.
        weight_decay: Decoupled weight decay (AdamW) of weight matrices, not of biases and norms.
        clip_norm: The gradient norm is clipped to this; null for never.
        ema_half_life: Half-life in images of the averaged weights; 0 for none.
        architecture: The networks' file in genmodels/networks/.
        width: Hidden units (mlp) or channels at the finest resolution (conv).
        depth: Hidden layers (mlp) or convolutions per resolution (conv).
        head_width: Units of the fully connected layers beside the convolutions (conv).
        head_depth: How many of them; 0 for none.
        dropout: Probability of dropping a hidden activation (mlp) or channel (conv).
        latent_dim: Dimensions of z.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    num_steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_schedule: Form
    learning_rate_end: Annotated[float, Field(ge=0, le=1)]
    adam_beta1: Annotated[float, Field(ge=0, lt=1)]
    adam_beta2: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    clip_norm: Annotated[float, Field(gt=0)] | None
    ema_half_life: Annotated[int, Field(ge=0)]
    architecture: Literal["mlp", "conv"]
    width: Annotated[int, Field(ge=1)]
    depth: Annotated[int, Field(ge=1)]
    head_width: Annotated[int, Field(ge=1)]
    head_depth: Annotated[int, Field(ge=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    latent_dim: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _constant_stays_constant(self) -> Self:
        if self.learning_rate_schedule == "constant" and self.learning_rate_end != 1:
            raise ValueError(
                f"learning_rate_end {self.learning_rate_end} contradicts learning_rate_schedule "
                "'constant'; set it to 1 or choose linear or cosine"
            )
        return self

    @model_validator(mode="after")
    def _head_belongs_to_convolutions(self) -> Self:
        if self.architecture == "mlp" and self.head_depth:
            raise ValueError(
                f"head_depth {self.head_depth} contradicts architecture 'mlp', which is one "
                "stack of fully connected layers; set it to 0 and use depth"
            )
        return self

    def network(self, *, norm: Norm, dropout: float, leak: float) -> NetworkOptions:
        """How the networks of this config are built."""
        return NetworkOptions(
            width=self.width,
            depth=self.depth,
            head_width=self.head_width,
            head_depth=self.head_depth,
            norm=norm,
            dropout=dropout,
            leak=leak,
        )

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        first = self.learning_rate
        end = first * self.learning_rate_end
        return scheduled(self.learning_rate_schedule, step, self.num_steps, first, end)


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step.

    Attributes:
        name: What `training_step` is told, and the prefix of what it logs.
        parameters: What this phase updates; every parameter of a model is in exactly one phase.
        repeats: Updates per step, each with a fresh batch (the discriminator steps of a GAN).
    """

    name: str
    parameters: Sequence[nn.Parameter]
    repeats: int = 1


class GenerativeModel(nn.Module, ABC):
    """A model that the loop can train and the evaluation can judge.

    Attributes:
        config: Its settings.
        shape: The images' shape.
        family: `vae` or `gan`, the group in which reports compare it.
    """

    family: ClassVar[str]

    def __init__(self, config: ModelConfig, shape: ImageShape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @abstractmethod
    def initialise(self, rng: torch.Generator, mean_image: Tensor) -> None:
        """Draws all weights.

        Args:
            rng: The only source of randomness, on the CPU.
            mean_image: (C, H, W) in [0, 1], mean of the training images; a decoder starts there.
        """

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The optimisers' turns, in their order within a step."""

    @abstractmethod
    def training_step(
        self, x: Tensor, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """One forward pass of a phase.

        Args:
            x: (N, C, H, W) in [0, 1].
            phase: A phase's name.
            step: From 0; schedules depend on it.
            rng: Freshly seeded for this update.

        Returns:
            Scalars: `loss` is minimised, the rest is logged as `<phase>/<key>`.
        """

    @abstractmethod
    def validation_step(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """What is watched on held-out images, at the final objective whatever the schedules say.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: The source of its noise.

        Returns:
            (N,) values per image, logged as the mean `valid/<key>`; the last one is the headline.
        """

    def sample_latent(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, latent_dim) draws from the prior N(0, I), the same for the same rng."""
        return normal((n, self.config.latent_dim), rng, self.device)

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """(N, latent_dim) to images (N, C, H, W) in [0, 1], in evaluation mode."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, C, H, W) in [0, 1], in evaluation mode; the same rng gives the same images."""
        return self.decode(self.sample_latent(n, rng))

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
