"""One trial: its settings trained for fewer steps, watched, measured on the validation split.

The training is `fitting.fit` with one more listener, which looks at the samples that the loop keeps
anyway. (`fit` itself has no place for it, and its bytes identify every training that the pipeline
has done.) A test holds the weights of both against one another.
"""

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from evaluation.figures import grids
from evaluation.runner import evaluate_images
from genmodels.base.model import GenerativeModel
from genmodels.build import build
from genmodels.training.cost import num_parameters
from genmodels.training.loop import Callbacks, LoopSettings, Row, Trainer
from pipelines.data.extractors import Extracted
from pipelines.data.prepared import Real
from pipelines.settings.errors import UserError
from pipelines.training import workers
from pipelines.training.measuring import measure, settings_of
from pipelines.training.one_run import Clock, Data, load_images
from pipelines.tuning.study import PRUNED, Study

#: Samples in the picture of a trial, of the same latents in every trial, and how many in a row.
PICTURE_SAMPLES, PICTURE_COLUMNS = 32, 8


class StoppedError(Exception):
    """A trial is given up; the message is the reason: `pruned`, or the name of a constraint."""


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


class Watcher:
    """What is told of a trial while it trains; this one does not listen."""

    def report(self, value: float, step: int) -> bool:
        """Takes an objective's value at a step; returns whether the trial is to be given up."""
        return False


@dataclass
class Outcome:
    """What is known of a trial, also of one that was given up.

    Attributes:
        num_parameters: Of the model.
        steps: Trained, this and earlier attempts together.
        values: By name what was measured; empty where it was given up.
        rows: The history.
        picture: A PNG of samples, or None where there are none yet.
        seconds: By `training` and `scoring`.
        cpu_seconds: Of the training, the pruner's looks at it included.
        stopped: Why it was given up, or None.
    """

    num_parameters: int = 0
    steps: int = 0
    values: dict[str, float | None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    picture: bytes | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"training": 0.0, "scoring": 0.0})
    cpu_seconds: float = 0.0
    stopped: str | None = None

    def attributes(self) -> dict[str, Any]:
        """As plain JSON values, for the storage."""
        picture = base64.b64encode(self.picture).decode() if self.picture else None
        return {**vars(self), "picture": picture}

    def excess(self, study: Study) -> dict[str, float]:
        """By constraint how much it is exceeded, at most 0 where it holds."""
        limits = study.settings.constraints
        found: dict[str, float] = {}
        if limits.num_parameters is not None:
            found["num_parameters"] = float(self.num_parameters - limits.num_parameters)
        if limits.cpu_seconds is not None:
            found["cpu_seconds"] = self.cpu_seconds - limits.cpu_seconds
        return found


class Run:
    """One trial that is being trained and measured."""

    def __init__(self, bench: Bench, entry: dict[str, Any], first: int, watcher: Watcher) -> None:
        """Prepares it.

        Args:
            bench: The worker's.
            entry: The trial's settings.
            first: Its number, or of a retry that of the trial that was lost.
            watcher: Is told of it.
        """
        self.bench, self.entry, self.watcher = bench, entry, watcher
        self.checkpoint = bench.study.checkpoint(first, entry)
        self.outcome = Outcome()
        self.seen: set[int] = set()

    def __call__(self, send: workers.Send) -> Outcome:
        """Trains and measures.

        Args:
            send: Receives what `fitting.fit` sends.

        Raises:
            ValueError: The data or the `Config` refuse the settings.
            FloatingPointError: The training has diverged.
        """
        try:
            self._score(self._train(send).model)
        except StoppedError as stopped:
            self.outcome.stopped = str(stopped)
        return self.outcome

    def _train(self, send: workers.Send) -> Trainer:
        start = time.monotonic()
        try:
            return self._trained(send)
        finally:
            # What was scored meanwhile is in `scoring` already.
            spent = time.monotonic() - start
            self.outcome.seconds["training"] = spent - self.outcome.seconds["scoring"]

    def _trained(self, send: workers.Send) -> Trainer:
        bench, study = self.bench, self.bench.study
        with torch.device("meta"):  # counted before it is made: a large one may not fit
            self.outcome.num_parameters = num_parameters(self._built())
        if self.outcome.excess(study).get("num_parameters", 0) > 0:
            raise StoppedError("num_parameters")
        model = self._built()
        shown = min(len(bench.real.reference.images), study.evaluate.max_samples)
        seed, precision = study.settings.training_seed, study.train.precision
        parts = study.settings.pruner.parts
        kept = shown if study.is_pruned else min(shown, PICTURE_SAMPLES)
        loop = LoopSettings(seed, precision, parts, kept)
        data = bench.data
        trainer = Trainer(model.to(bench.device), data.train, data.valid, loop)
        clock = Clock(trainer, self.checkpoint, bench.device, send)
        self._resume(clock)
        limit = study.settings.constraints.cpu_seconds

        def progress(step: int, loss: Tensor) -> None:
            clock.progress(step, loss)
            if limit is not None and clock.spent()["cpu_seconds"] > limit:
                raise StoppedError("cpu_seconds")
            if step in trainer.snapshots:
                self._look(trainer, step)

        try:
            for step in sorted(trainer.snapshots):  # an attempt before this one has got so far
                self._look(trainer, step)
            trainer.run(Callbacks(progress=progress, checkpoint=clock.checkpoint))
        finally:
            self._note(trainer, clock)
        return trainer

    def _resume(self, clock: Clock) -> None:
        try:
            clock.resume()
        except UserError:  # unreadable: its disk was full, say. The trial starts anew.
            self.checkpoint.unlink()

    def _built(self) -> GenerativeModel:
        return build(self.entry, self.bench.study.shape, self.bench.study.num_classes)

    def _note(self, trainer: Trainer, clock: Clock) -> None:
        outcome = self.outcome
        outcome.steps, outcome.rows = trainer.step, trainer.history
        outcome.cpu_seconds = clock.spent()["cpu_seconds"]
        if trainer.snapshots:
            samples = trainer.snapshots[max(trainer.snapshots)][:PICTURE_SAMPLES]
            grid = grids.image_grid(samples.float() / 255, PICTURE_COLUMNS, scale=1)
            outcome.picture = grids.png(grid)

    def _look(self, trainer: Trainer, step: int) -> None:
        """Looks at a trial at a step at which the loop has kept samples."""
        study = self.bench.study
        if step not in study.settings.check_steps or step in self.seen:
            return
        self.seen.add(step)
        start = time.monotonic()
        value = self._intermediate(trainer, step)
        self.outcome.seconds["scoring"] += time.monotonic() - start
        if value is not None and self.watcher.report(value, step):
            raise StoppedError(PRUNED)

    def _intermediate(self, trainer: Trainer, step: int) -> float | None:
        """The objective on the samples of this step, or the last that the loop has told of it."""
        study = self.bench.study
        name, metric = next(iter(study.metrics.items()))
        if not metric.samples:
            rows = [row for row in trainer.history if row["step"] <= step]
            return rows[-1][f"valid/{name}"] if rows else None
        evaluation = evaluate_images(
            trainer.snapshots[step].to(torch.float32) / 255,
            [metric.name],
            reference=self.bench.real.reference,
            train=self.bench.real.train,
            extractors=self.bench.extracted.extractors,
            settings=settings_of(study.evaluate, study.settings.training_seed),
        )
        return {record.name: record.value for record in evaluation.records}[name]

    def _score(self, model: GenerativeModel) -> None:
        bench, study = self.bench, self.bench.study
        start = time.monotonic()
        seed = study.settings.training_seed
        evaluation = measure(model, seed, study.evaluate, bench.extracted, bench.real)
        self.outcome.values = {record.name: record.value for record in evaluation.records}
        self.outcome.seconds["scoring"] += time.monotonic() - start
