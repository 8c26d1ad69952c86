"""The settings that every kind has; no field has a default."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from genmodels.base.schedules import Form, scheduled
from genmodels.networks.blocks import Activation, NetworkOptions, Norm


class LearningRateStage(BaseModel):
    """From `step` on, the learning rate is `factor` times the initial one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    step: Annotated[int, Field(ge=0)]
    factor: Annotated[float, Field(gt=0)]


class ModelConfig(BaseModel):
    """The settings that every kind has.

    Frozen and strict. No field has a default, because neither DVC nor MLflow can see a default in
    code.

    Attributes:
        num_steps: Training steps; a step is one round of all phases.
        batch_size: Images per batch.
        learning_rate: Adam's step size at step 0.
        learning_rate_schedule: Schedule from the initial to the final learning rate, or a list of
            stages.
        learning_rate_end: Final / initial learning rate; 1 for `constant` and for stages.
        adam_beta1: Adam's decay rate of the first moment.
        adam_beta2: Adam's decay rate of the second moment.
        weight_decay: Decoupled weight decay (AdamW) of weight matrices; biases and norms have none.
        clip_norm: Maximum gradient norm; null = no clipping.
        ema_half_life: Half-life of the averaged weights in images; 0 = no averaging.
        architecture: File in genmodels/networks/ that defines the networks.
        width: Hidden units (mlp, rnn) or channels at the finest resolution (conv, resnet).
        depth: Hidden layers (mlp, rnn), convolutions (conv) or residual blocks (resnet) per
            resolution.
        head_width: Units of the fully connected layers beside the convolutions (conv, resnet).
        head_depth: Number of these layers; 0 = none.
        activation: Activation of the hidden layers; the units of an rnn have their own.
        dropout: Probability of dropping a hidden activation (mlp, rnn) or channel (conv, resnet).
        latent_dim: Dimensions of z.
        conditional: Whether the model is conditioned on the class of each image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    num_steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    learning_rate_schedule: Form | Annotated[list[LearningRateStage], Field(min_length=1)]
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
                f"{form!r}; set learning_rate_end: 1 or learning_rate_schedule: linear or cosine"
            )
        if isinstance(schedule, list) and any(a.step >= b.step for a, b in pairwise(schedule)):
            raise ValueError("learning_rate_schedule: the steps of the stages must increase")
        return self

    @model_validator(mode="after")
    def _head_belongs_to_convolutions(self) -> Self:
        if self.architecture in ("mlp", "rnn") and self.head_depth:
            raise ValueError(
                f"head_depth {self.head_depth} contradicts architecture {self.architecture!r}, "
                "which has no head; set head_depth: 0 and use depth"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Warnings, one line each, about settings that are valid and probably unintended."""
        return ()

    def network(self, *, norm: Norm, dropout: float) -> NetworkOptions:
        """The options of a network with these settings."""
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
        """The learning rate at a step / the initial learning rate."""
        schedule = self.learning_rate_schedule
        if isinstance(schedule, str):
            return scheduled(schedule, step, self.num_steps, 1.0, self.learning_rate_end)
        reached = [stage.factor for stage in schedule if stage.step <= step]
        return reached[-1] if reached else 1.0

    def betas_at(self, step: int) -> tuple[float, float]:
        """Adam's two betas at a step, as floats, because torch accepts no integers here."""
        return float(self.adam_beta1), float(self.adam_beta2)
