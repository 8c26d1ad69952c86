"""One training in this process: its data, its checkpoints, its messages, the files it leaves.

`pipelines.training.seeds` runs it, one process for each seed.
"""

import csv
import io
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

SECONDS_BETWEEN_CHECKPOINTS = 10.0
SECONDS_BETWEEN_MESSAGES = 0.5


@dataclass(frozen=True)
class Started:
    """A worker has its data and model; `rows` were trained before an interruption."""

    step: int
    rows: list[Row]
    family: str


@dataclass(frozen=True)
class Trained:
    """How far a worker is."""

    step: int
    loss: float


@dataclass(frozen=True)
class Data:
    """What a model is trained on and watched on, on its device.

    Attributes:
        train: The train split.
        valid: The valid split.
        num_classes: Of the labels; 0 without labels.
    """

    train: Images
    valid: Images
    num_classes: int


def load_images(device: str, prepared: Path | None = None) -> Data:
    """Reads the splits that a training needs.

    Args:
        device: `cpu` or `cuda`.
        prepared: A folder as `prepare` makes it; None for the pipeline's own.
    """
    train, valid = (
        _images(splits.load_split(name, prepared), device) for name in ("train", "valid")
    )
    return Data(train, valid, splits.load_manifest(prepared)["num_classes"] or 0)


def _images(split: splits.Split, device: str) -> Images:
    labels = None if split.labels is None else split.labels.to(device)
    return Images(split.images.to(device), labels)


def fit(
    entry: dict[str, Any],
    data: Data,
    loop: LoopSettings,
    path: Path,
    device: str,
    send: workers.Send,
    where: str,
) -> tuple[Trainer, dict[str, Any]]:
    """Trains one model with one seed, from its checkpoint where there is one.

    Args:
        entry: The model's settings.
        data: What it is trained on.
        loop: The seed and the loop's settings.
        path: Its checkpoint, which is left behind complete.
        device: `cpu` or `cuda`.
        send: Receives `Started`, rows (dicts) and `Trained`.
        where: The place of the settings, for an error.

    Returns:
        The trainer at its end, and what the training cost.

    Raises:
        UserError: The settings do not fit the data, or the checkpoint is damaged.
    """
    try:
        shape = ImageShape(*data.train.x.shape[1:])
        model = build(entry, shape, data.num_classes).to(device)
        trainer = Trainer(model, data.train, data.valid, loop)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    clock = Clock(trainer, path, device, send)
    clock.resume()
    send(Started(trainer.step, trainer.history, model.family))
    trainer.run(Callbacks(send, clock.progress, clock.checkpoint))
    clock.save(trainer.state)
    return trainer, clock.timing()


class Clock:
    """What depends on time around a training: checkpoints, messages, durations."""

    def __init__(self, trainer: Trainer, path: Path, device: str, send: workers.Send) -> None:
        self.trainer, self.path, self.device, self.send = trainer, path, device, send
        self.before = {"seconds": 0.0, "cpu_seconds": 0.0, "resumed": 0}
        self.wall, self.cpu = time.monotonic(), time.process_time()
        self.saved = self.sent = self.wall

    def resume(self) -> None:
        """Brings the trainer to its checkpoint, if there is one."""
        if not self.path.is_file():
            return
        try:
            state = checkpoint.load(self.path)
        except ValueError as error:
            raise UserError(f"{error}; delete it to start anew") from None
        self.before = state.pop("clock")
        self.before["resumed"] += 1
        self.trainer.load_state(state)

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves where the last one is some seconds old."""
        if time.monotonic() - self.saved >= SECONDS_BETWEEN_CHECKPOINTS:
            self.save(state)
            self.saved = time.monotonic()

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes the checkpoint."""
        checkpoint.save(self.path, {**state(), "clock": self.spent()})

    def spent(self) -> dict[str, Any]:
        """Seconds on the clock and of a processor, earlier runs counted in, and resumptions."""
        return {
            "seconds": self.before["seconds"] + time.monotonic() - self.wall,
            "cpu_seconds": self.before["cpu_seconds"] + time.process_time() - self.cpu,
            "resumed": self.before["resumed"],
        }

    def progress(self, step: int, loss: Tensor) -> None:
        """Sends `Trained` where the last one is half a second old."""
        now = time.monotonic()
        if now - self.sent < SECONDS_BETWEEN_MESSAGES:
            return
        self.send(Trained(step, loss.item()))
        self.sent = now

    def timing(self) -> dict[str, Any]:
        """What the whole training cost and where it ran."""
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


def write_seed(
    folder: Path, name: str, entry: dict[str, Any], train: Train, trainer: Trainer
) -> None:
    """Writes what a training leaves: weights, config, history and snapshots.

    Args:
        folder: Where to; it is made.
        name: The model's name.
        entry: Its settings.
        train: The settings that all models share.
        trainer: At its end.
    """
    card = {"model": name, "family": trainer.model.family, "seed": trainer.settings.seed}
    card["train"] = train.model_dump()
    weights.write_model(folder, trainer.model, entry, card)
    files.write_text(folder / "history.csv", as_csv(trainer.history))
    weights.write_snapshots(folder, trainer.snapshots)


def as_csv(rows: list[Row]) -> str:
    """A history as CSV, numbers in full precision."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
