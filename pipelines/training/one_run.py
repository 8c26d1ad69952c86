"""Trains models, one process for each model and seed: data, checkpoints, messages, output files.

The stage `train`, reproductions and the retraining of a study call `train_all`. A trial of a study
trains in its own process, with `Clock` and `load_images`.
"""

import csv
import functools
import io
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genmodels.base.model import Images
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training import checkpoint
from genmodels.training.loop import Callbacks, LoopSettings, Row, Trainer
from pipelines.data import splits
from pipelines.settings import files
from pipelines.settings.errors import UserError
from pipelines.settings.sections import Train
from pipelines.training import weights, workers
from pipelines.training.progress import Progress

SECONDS_BETWEEN_CHECKPOINTS = 10.0
SECONDS_BETWEEN_MESSAGES = 0.5


@dataclass(frozen=True, eq=False)
class Training:
    """One model with one seed; its name in messages is `vae seed 0`.

    Attributes:
        entry: The model's settings, complete; `where` is their file and key, for errors.
        prepared: Output folder of `prepare`; None for that of the pipeline.
        folder: Its output folder, which is replaced when the training has ended.
        checkpoint: Its resumable state. It stays when the training has ended: the caller deletes it
            when the outputs are safe.
        may_diverge: Whether a loss that is not finite is a result instead of an error.
    """

    model: str
    entry: dict[str, Any]
    seed: int
    train: Train
    prepared: Path | None
    folder: Path
    checkpoint: Path
    where: str
    may_diverge: bool = False

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed}"


class Started(NamedTuple):
    """A worker has loaded data and model; `rows` are those before an interruption."""

    step: int
    rows: list[Row]
    family: str


class StepDone(NamedTuple):
    """A worker has finished a step, with the loss of the last phase."""

    step: int
    loss: float


class Finished(NamedTuple):
    """A training has ended: its cost or, if it may diverge and has, the reason without a cost."""

    timing: dict[str, Any] | None
    diverged: str | None = None


def train_all(
    title: str,
    trainings: Sequence[Training],
    device: str,
    handle: Callable[[Training, Any], None],
    at_once: int | None = None,
) -> list[Finished]:
    """Trains side by side (at least one), writes the folders and returns the ends in order.

    The progress display names the work `title`. `handle` receives `Started`, rows (dicts),
    `StepDone` and `Finished`, in this process. On a CPU there are at most `at_once` processes
    (default: the cores).

    Raises:
        UserError: The settings do not fit the data, a loss is not finite, or a worker was killed.
    """
    steps = {str(training): training.entry["num_steps"] for training in trainings}
    with Progress(title, steps) as progress:

        def show(training: Training, message: Any) -> None:
            if isinstance(message, Started):
                if message.step:
                    progress.say(f"{training}: resumed at step {message.step:,}")
                progress.update(str(training), message.step)
            elif isinstance(message, StepDone):
                progress.update(str(training), message.step, loss=message.loss)
            handle(training, message)
            if isinstance(message, Finished):
                progress.finish(str(training))

        return workers.run(
            functools.partial(_train, device),
            trainings,
            device=device,
            threads=trainings[0].train.threads,
            handle=show,
            at_once=at_once,
            label=str,
        )


def _train(device: str, training: Training, send: workers.Send) -> Finished:
    try:
        trainer, timing = fit(training, device, send)
    except FloatingPointError as error:
        if not training.may_diverge:
            raise
        return Finished(None, str(error))
    with files.new_folder(training.folder) as folder:
        write_seed(folder, training, trainer)
    return Finished(timing)


class Data(NamedTuple):
    """The images of a training, on its device; `num_classes` is 0 without labels."""

    train: Images
    valid: Images
    num_classes: int


def load_images(device: str, prepared: Path | None = None) -> Data:
    """Reads the splits that a training needs from a folder (default: that of the pipeline)."""

    def read(name: str) -> Images:
        split = splits.load_split(name, prepared)
        labels = None if split.labels is None else split.labels.to(device)
        return Images(split.images.to(device), labels)

    num_classes = splits.load_manifest(prepared)["num_classes"] or 0
    return Data(read("train"), read("valid"), num_classes)


def fit(training: Training, device: str, send: workers.Send) -> tuple[Trainer, dict[str, Any]]:
    """Trains one model with one seed in this process, from its checkpoint if one exists.

    Returns the trainer after the last step, and the cost of the training.

    Raises:
        UserError: The settings do not fit the data, or the checkpoint is damaged.
    """
    data, train = load_images(device, training.prepared), training.train
    loop = LoopSettings(training.seed, train.precision, train.num_snapshots, train.snapshot_images)
    try:
        shape = ImageShape(*data.train.x.shape[1:])
        model = build(training.entry, shape, data.num_classes).to(device)
        trainer = Trainer(model, data.train, data.valid, loop)
    except ValueError as error:
        raise UserError(f"{training.where}: {error}") from None
    clock = Clock(trainer, training.checkpoint, device, send)
    clock.resume()
    send(Started(trainer.step, trainer.history, model.family))
    trainer.run(Callbacks(send, clock.progress, clock.checkpoint))
    clock.save(trainer.state)
    return trainer, clock.timing()


class Clock:
    """The parts of a training that depend on time: checkpoints, messages, durations."""

    def __init__(self, trainer: Trainer, path: Path, device: str, send: workers.Send) -> None:
        self.trainer, self.path, self.device, self.send = trainer, path, device, send
        self.before = {"seconds": 0.0, "cpu_seconds": 0.0, "resumed": 0}
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.saved = self.sent = self.wall

    def resume(self) -> None:
        """Loads the checkpoint into the trainer, if it exists."""
        if not self.path.is_file():
            return
        try:
            state = checkpoint.load(self.path)
        except ValueError as error:
            raise UserError(f"{error}; delete it to start again") from None
        self.before = state.pop("clock")
        self.before["resumed"] += 1
        self.trainer.load_state(state)

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes a checkpoint if the last one is `SECONDS_BETWEEN_CHECKPOINTS` old."""
        if time.monotonic() - self.saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self.save(state)
            self.saved = time.monotonic()

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes the checkpoint."""
        checkpoint.save(self.path, {**state(), "clock": self.spent()})

    def spent(self) -> dict[str, Any]:
        """Wall-clock and CPU seconds, including earlier runs, and the number of resumptions."""
        return {
            "seconds": self.before["seconds"] + time.monotonic() - self.wall,
            "cpu_seconds": self.before["cpu_seconds"] + time.process_time() - self.cpu,
            "resumed": self.before["resumed"],
        }

    def progress(self, step: int, loss: Tensor) -> None:
        """Sends `StepDone` if the last message is `SECONDS_BETWEEN_MESSAGES` old."""
        now = time.monotonic()
        if now - self.sent >= SECONDS_BETWEEN_MESSAGES:
            self.send(StepDone(step, loss.item()))
            self.sent = now

    def timing(self) -> dict[str, Any]:
        """Cost, device and versions of the whole training."""
        spent = self.spent()
        config = self.trainer.model.config
        total = config.num_steps * config.batch_size
        return {
            **spent,
            "images_per_second": total / max(spent["seconds"], 1e-9),
            "steps": config.num_steps,
            "device": self.device,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
        }


def write_seed(folder: Path, training: Training, trainer: Trainer) -> None:
    """Writes weights, config, history (numbers in full precision) and snapshots of a training."""
    card = {"model": training.model, "family": trainer.model.family, "seed": training.seed}
    card["train"] = training.train.model_dump()
    weights.write_model(folder, trainer.model, training.entry, card)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(trainer.history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(trainer.history)
    files.write_text(folder / "history.csv", text.getvalue())
    weights.write_snapshots(folder, trainer.snapshots)
