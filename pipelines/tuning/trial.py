"""One trial: trained for fewer steps, watched by the pruner, measured on the validation split.

The training is `one_run.fit` with one more callback, which looks at the samples that the loop keeps
anyway. A test compares the weights of both.
"""

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from evaluation.figures import grids
from evaluation.runner import evaluate_images
from genmodels.base.model import GenerativeModel
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.cost import num_parameters
from genmodels.training.loop import Callbacks, LoopSettings, Row, Trainer
from pipelines.data.extractors import Extracted
from pipelines.data.prepared import Real
from pipelines.settings.errors import UserError
from pipelines.training import workers
from pipelines.training.measuring import measure, settings_of
from pipelines.training.one_run import Clock, Data, load_images
from pipelines.tuning.study import PRUNED, Study

#: Samples in the picture of a trial, from the same latents in every trial, and samples per row.
PICTURE_SAMPLES, PICTURE_COLUMNS = 32, 8


class StoppedError(Exception):
    """A trial stops early; the message is the reason: `pruned`, or the name of a constraint."""


@dataclass(frozen=True)
class Bench:
    """What a worker reads once for all of its trials."""

    study: Study
    device: str
    data: Data
    extracted: Extracted
    real: Real

    @classmethod
    def load(cls, study: Study, device: str) -> "Bench":
        """Reads data, extractors and features."""
        extracted = study.data.extracted()
        real = study.data.real(extracted, "valid")
        return cls(study, device, load_images(device, study.data.folder), extracted, real)


@dataclass
class Outcome:
    """The results of a trial, as far as there are any; times in seconds.

    Attributes:
        steps: Trained steps, including those before a retry.
        values: Measured values by name; empty for a trial that stopped early.
        picture: A PNG of samples.
        cpu_seconds: Processor time of the training, including the pruning checks.
        stopped: Why it stopped early, or None.
    """

    num_parameters: int = 0
    steps: int = 0
    values: dict[str, float | None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    picture: bytes | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"training": 0.0, "scoring": 0.0})
    cpu_seconds: float = 0.0
    stopped: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain values, for the storage."""
        picture = base64.b64encode(self.picture).decode() if self.picture else None
        return {**vars(self), "picture": picture}

    def excess(self, study: Study) -> dict[str, float]:
        """By constraint the excess over its limit, at most 0 where it holds."""
        limits = study.settings.constraints.model_dump(exclude_none=True)
        return {name: float(getattr(self, name) - limit) for name, limit in limits.items()}


class Run:
    """One trial that is trained and measured.

    Args:
        first: Its number, or, for a retry, that of the trial that lost its worker.
        report: Receives (objective, step) at each check; returns whether the trial is to be pruned.
    """

    def __init__(
        self, bench: Bench, entry: dict[str, Any], first: int, report: Callable[[float, int], bool]
    ) -> None:
        self.bench, self.entry, self.report = bench, entry, report
        self.checkpoint = bench.study.checkpoint(first, entry)
        self.outcome = Outcome()
        self.checked: set[int] = set()

    def __call__(self, send: workers.Send) -> Outcome:
        """Trains and measures; `send` receives what `one_run.fit` sends.

        Raises:
            ValueError: The data or the `Config` refuse the settings.
            FloatingPointError: The training has diverged.
        """
        bench, study, outcome = self.bench, self.bench.study, self.outcome
        try:
            model = self.train(send).model
        except StoppedError as stopped:
            outcome.stopped = str(stopped)
            return outcome
        start, seed = time.monotonic(), study.settings.training_seed
        evaluation = measure(model, seed, study.evaluate, bench.extracted, bench.real)
        outcome.values = {record.name: record.value for record in evaluation.records}
        outcome.seconds["scoring"] += time.monotonic() - start
        return outcome

    def train(self, send: workers.Send) -> Trainer:
        """Trains, from the checkpoint where there is one."""
        bench, study, start = self.bench, self.bench.study, time.monotonic()
        with torch.device("meta"):  # counted before it is built: a large model may not fit
            self.outcome.num_parameters = num_parameters(self._build())
        if self.outcome.excess(study).get("num_parameters", 0) > 0:
            raise StoppedError("num_parameters")
        most = min(len(bench.real.reference.images), study.evaluate.max_samples)
        num_samples = most if study.is_pruned else min(most, PICTURE_SAMPLES)
        seed, parts = study.settings.training_seed, study.settings.pruner.parts
        loop = LoopSettings(seed, study.train.precision, parts, num_samples)
        trainer = Trainer(self._build().to(bench.device), bench.data.train, bench.data.valid, loop)
        clock = Clock(trainer, self.checkpoint, bench.device, send)
        try:
            clock.resume()
        except UserError:  # damaged, as by a full disk: the trial starts at step 0
            self.checkpoint.unlink()
        limit = study.settings.constraints.cpu_seconds

        def progress(step: int, loss: Tensor) -> None:
            clock.progress(step, loss)
            if limit is not None and clock.spent()["cpu_seconds"] > limit:
                raise StoppedError("cpu_seconds")
            if step in trainer.snapshots:
                self._check(trainer, step)

        try:
            for step in sorted(trainer.snapshots):  # those of the attempt before this one
                self._check(trainer, step)
            trainer.run(Callbacks(progress=progress, checkpoint=clock.checkpoint))
        finally:
            outcome = self.outcome
            outcome.steps, outcome.rows = trainer.step, trainer.history
            outcome.cpu_seconds = clock.spent()["cpu_seconds"]
            if trainer.snapshots:
                outcome.picture = picture_of(trainer.snapshots)
            seconds = time.monotonic() - start
            outcome.seconds["training"] = seconds - outcome.seconds["scoring"]
        return trainer

    def _build(self) -> GenerativeModel:
        data = self.bench.data
        return build(self.entry, ImageShape(*data.train.x.shape[1:]), data.num_classes)

    def _check(self, trainer: Trainer, step: int) -> None:
        """Reports the objective at a step at which the loop has kept samples."""
        if step not in self.bench.study.settings.check_steps or step in self.checked:
            return
        self.checked.add(step)
        start = time.monotonic()
        value = self._intermediate_value(trainer, step)
        self.outcome.seconds["scoring"] += time.monotonic() - start
        if value is not None and self.report(value, step):
            raise StoppedError(PRUNED)

    def _intermediate_value(self, trainer: Trainer, step: int) -> float | None:
        """The objective from the samples of this step, or from the last row of the history."""
        study, bench = self.bench.study, self.bench
        name, metric = next(iter(study.metrics.items()))
        if not metric.samples:
            rows = [row for row in trainer.history if row["step"] <= step]
            return rows[-1][f"valid/{name}"] if rows else None
        evaluation = evaluate_images(
            trainer.snapshots[step].to(torch.float32) / 255,
            [metric.name],
            reference=bench.real.reference,
            train=bench.real.train,
            extractors=bench.extracted.extractors,
            settings=settings_of(study.evaluate, study.settings.training_seed),
        )
        return {record.name: record.value for record in evaluation.records}[name]


def picture_of(snapshots: Mapping[int, Tensor]) -> bytes:
    """A PNG of the first samples of the last snapshot, of (N, C, H, W) uint8 by step."""
    samples = snapshots[max(snapshots)][:PICTURE_SAMPLES]
    return grids.png(grids.image_grid(samples.float() / 255, PICTURE_COLUMNS, scale=1))
