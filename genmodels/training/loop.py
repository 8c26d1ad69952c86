"""The training loop of every kind.

It owns freezing, gradients, clipping, optimisers, averaged weights and the history. A model defines
its phases and computes their terms; the loop has no code for a specific kind. The loop uses no
logger, no file and no clock: the caller passes callbacks.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from genmodels.base.model import GenerativeModel, Images, Phase
from genmodels.base.seeding import derive, generator
from genmodels.networks.blocks import bind_dropout
from genmodels.training.ema import EMA
from genmodels.training.optimizers import apply_schedules, build_optimizer, check_phases

Precision = Literal["fp32", "bf16"]
Row = dict[str, float]

#: Maximum number of rows in a history; the interval between rows is a whole number of epochs.
MAX_ROWS = 50


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the loop that are not part of the model's config.

    Attributes:
        seed: Seed of the training.
        precision: `bf16` runs the forward passes under autocast; losses stay in float32.
        num_snapshots: Number of snapshots of generated images, all from the same latents.
        snapshot_images: Images per snapshot.
    """

    seed: int
    precision: Precision
    num_snapshots: int
    snapshot_images: int


def _ignore(*_: object) -> None:
    """The default callback, which does nothing."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that the loop calls.

    Attributes:
        row: Called with each finished row of the history.
        progress: Called after every step with the number of finished steps and the loss of the
            last phase.
        checkpoint: Called after every step except the last with a function that returns the state
            for a resumed run; the callback decides how often to call it.
    """

    row: Callable[[Row], None] = _ignore
    progress: Callable[[int, Tensor], None] = _ignore
    checkpoint: Callable[[Callable[[], dict[str, Any]]], None] = _ignore


class _Terms:
    """The logged terms since the last row, as tensors; their mean is computed once per row."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, phase: str, terms: Mapping[str, Tensor]) -> None:
        for key, term in terms.items():
            self.values.setdefault(f"{phase}/{key}", []).append(term.detach())

    def stacked(self) -> dict[str, Tensor]:
        return {key: torch.stack(terms) for key, terms in self.values.items()}

    def load(self, stacked: Mapping[str, Tensor]) -> None:
        self.values = {key: list(terms) for key, terms in stacked.items()}

    def take(self) -> Row:
        row = {key: terms.double().mean().item() for key, terms in self.stacked().items()}
        self.values = {}
        return row


class Trainer:
    """Trains one model once.

    Everything random is a function of (seed, step). On a CPU with the same number of threads, a
    resumed run is therefore bit-identical to an uninterrupted one.
    """

    def __init__(
        self, model: GenerativeModel, train: Images, valid: Images, settings: LoopSettings
    ) -> None:
        """Draws the initial weights.

        Args:
            model: Model on the device of the training.
            train: Training split, on the same device.
            valid: Validation split, on the same device.
            settings: Seed, precision and snapshots.

        Raises:
            ValueError: The training split is smaller than a batch, the model is conditional and
                the images have no labels, or a parameter is not in exactly one phase.
        """
        config = model.config
        if len(train.x) < config.batch_size:
            raise ValueError(
                f"batch_size {config.batch_size} is more than the {len(train.x)} training images"
            )
        self.model, self.settings = model, settings
        observed = model.observed(train.x, generator(settings.seed, "observed"))
        self.train, self.valid = (
            images if model.conditional else Images(images.x, None)
            for images in (Images(observed, train.y), valid)
        )
        model.initialise(generator(settings.seed, "weights"), self.train)
        self.phases = model.phases()
        check_phases(model, self.phases)
        self.optimizers = {phase.name: build_optimizer(phase, config) for phase in self.phases}
        averaged = model.averaged_module()
        self.ema = EMA(averaged, config.ema_half_life) if config.ema_half_life else None
        self.rng = torch.Generator(model.device)
        bind_dropout(model, self.rng)
        self.batches_per_step = max(phase.repeats for phase in self.phases)
        per_step = config.batch_size * self.batches_per_step
        self.steps_per_epoch = max(1, len(train.x) // per_step)
        self.step = 0
        self.history: list[Row] = []
        self.snapshots: dict[int, Tensor] = {}
        self._terms = _Terms()
        self._shuffled = (-1, torch.empty(0, dtype=torch.int64))

    def run(self, callbacks: Callbacks | None = None) -> None:
        """Trains from the current step to the last; the model then holds its averaged weights.

        Raises:
            FloatingPointError: A loss or a gradient is not finite; the message names the phase,
                the term and the step. The loop does not skip such a step, because a run with
                missing steps is not comparable, and the forward pass may have changed a codebook.
        """
        callbacks = callbacks or Callbacks()
        config = self.model.config
        epochs = math.ceil(config.num_steps / self.steps_per_epoch)
        row_every = self.steps_per_epoch * math.ceil(epochs / MAX_ROWS)
        snapshot_steps = set(self._snapshot_steps())
        self.model.train()
        while self.step < config.num_steps:
            loss = self._one_step(self.step)
            self.step += 1
            last = self.step == config.num_steps
            if last and self.ema:
                self.model.averaged_module().load_state_dict(self.ema.state)
                self.model.recalibrate(generator(self.settings.seed, "recalibrate"))
            if last or self.step % row_every == 0:
                self.history.append(self._row())
                callbacks.row(self.history[-1])
            if self.step in snapshot_steps:
                self.snapshots[self.step] = self._snapshot()
            callbacks.progress(self.step, loss)
            if not last:
                callbacks.checkpoint(self.state)
        self.model.eval()

    def _one_step(self, step: int) -> Tensor:
        config = self.model.config
        for phase in self.phases:
            for other in self.phases:
                for parameter in other.parameters:
                    parameter.requires_grad_(other is phase)
            for repeat in range(phase.repeats):
                loss = self._update(phase, step, repeat)
        if self.ema:
            self.ema.update(config.batch_size, (step + 1) * config.batch_size)
        return loss

    def _update(self, phase: Phase, step: int, repeat: int) -> Tensor:
        config, optimizer = self.model.config, self.optimizers[phase.name]
        learning_rate = apply_schedules(optimizer, phase, config, step)
        self.rng.manual_seed(derive(self.settings.seed, "step", step, phase.name, repeat))
        optimizer.zero_grad(set_to_none=True)
        x, y = self._batch(step * self.batches_per_step + repeat)
        with self._autocast():
            terms = self.model.training_step(x, y, phase.name, step, self.rng)
        loss = terms["loss"]
        if not torch.isfinite(loss):
            raise FloatingPointError(_not_finite(terms, phase.name, step))
        # No gradient for the images, although a gradient penalty sets their requires_grad.
        loss.backward(inputs=list(phase.parameters))
        norm = nn.utils.get_total_norm([p.grad for p in phase.parameters if p.grad is not None])
        if not torch.isfinite(norm):
            raise FloatingPointError(f"phase {phase.name}, step {step}: the gradient is not finite")
        if config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(phase.parameters, config.clip_norm, norm)
        optimizer.step()
        self.model.after_update(phase.name)
        logged = {**terms, "grad_norm": norm, "learning_rate": torch.tensor(learning_rate)}
        self._terms.add(phase.name, logged)
        return loss.detach()  # frees the graph before the next phase

    def _batch(self, number: int) -> Images:
        """Batch `number` of the run; the order within an epoch depends on (seed, epoch) only."""
        size, x = self.model.config.batch_size, self.train.x
        epoch, index = divmod(number, len(x) // size)
        if self._shuffled[0] != epoch:
            rng = generator(self.settings.seed, "shuffle", epoch)
            self._shuffled = (epoch, torch.randperm(len(x), generator=rng).to(x.device))
        return self.train.at(self._shuffled[1][index * size : (index + 1) * size])

    def _autocast(self) -> torch.autocast:
        enabled = self.settings.precision == "bf16"
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _row(self) -> Row:
        seed = self.settings.seed
        with self._averaged():
            rng = generator(seed, "valid", device=self.model.device)
            validation = self.model.validation_step(*self.valid, rng)
        row: Row = {"epoch": math.ceil(self.step / self.steps_per_epoch), "step": self.step}
        row |= self._terms.take()
        for key, value in validation.items():
            row[f"valid/{key}"] = mean = value.double().mean().item()
            if not math.isfinite(mean):
                raise FloatingPointError(f"validation after step {self.step}: {key} is {mean}")
        return row

    def _snapshot_steps(self) -> list[int]:
        total, count = self.model.config.num_steps, self.settings.num_snapshots
        return [math.ceil(total * (i + 1) / count) for i in range(count)]

    def _snapshot(self) -> Tensor:
        with self._averaged():
            rng = generator(self.settings.seed, "fit_sampler", device=self.model.device)
            self.model.fit_sampler(self.train, rng)
            rng = generator(self.settings.seed, "snapshot")
            samples = self.model.sample(self.settings.snapshot_images, rng)
        return samples.mul(255).round().to(torch.uint8).cpu()

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights inside the block, the trained ones again on exit."""
        if self.ema is None or self.step == self.model.config.num_steps:
            yield  # after the last step the model already holds its final weights
            return
        with self.ema.applied():
            self.model.recalibrate(generator(self.settings.seed, "recalibrate"))
            yield

    def state(self) -> dict[str, Any]:
        """The state for a resumed run, as tensors, numbers, strings, lists and dicts."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema.state if self.ema else None,
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "history": self.history,
            "snapshots": self.snapshots,
            "terms": self._terms.stacked(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores a state from `state()`."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.history = [dict(row) for row in state["history"]]
        self.snapshots = dict(state["snapshots"])
        self._terms.load(state["terms"])


def _not_finite(terms: Mapping[str, Tensor], phase: str, step: int) -> str:
    causes = [key for key, value in terms.items() if not torch.isfinite(value) and key != "loss"]
    values = ", ".join(f"{key} = {terms[key].item()}" for key in causes or ["loss"])
    return f"phase {phase}, step {step}: {values} is not finite"
