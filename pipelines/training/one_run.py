"""One training in this process: data, checkpoints, messages, output files.

`pipelines.training.seeds` runs one process per seed.
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
    """A worker has loaded data and model; `rows` are those before an interruption."""

    step: int
    rows: list[Row]
    family: str


@dataclass(frozen=True)
class Trained:
    """The progress of a worker."""

    step: int
    loss: float


@dataclass(frozen=True)
class Data:
    """The images of a training, on its device.

    Attributes:
        train: The train split.
        valid: The valid split, for the curves.
        num_classes: Number of classes; 0 without labels.
    """

    train: Images
    valid: Images
    num_classes: int


def load_images(device: str, prepared: Path | None = None) -> Data:
    """Reads the splits that a training needs.

    Args:
        device: `cpu` or `cuda`.
        prepared: Output folder of `prepare` (default: that of the pipeline).
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
    """Trains one model with one seed, from its checkpoint if one exists.

    Args:
        entry: The model's settings.
        data: The images.
        loop: The seed and the loop's settings.
        path: Its checkpoint, which contains the complete training at the end.
        device: `cpu` or `cuda`.
        send: Receives `Started`, rows (dicts) and `Trained`.
        where: The file and key of the settings, for an error.

    Returns:
        The trainer after the last step, and the cost of the training.

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
        """Sends `Trained` if the last message is `SECONDS_BETWEEN_MESSAGES` old."""
        now = time.monotonic()
        if now - self.sent < SECONDS_BETWEEN_MESSAGES:
            return
        self.send(Trained(step, loss.item()))
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


def write_seed(
    folder: Path, name: str, entry: dict[str, Any], train: Train, trainer: Trainer
) -> None:
    """Writes the files of a training: weights, config, history and snapshots.

    Args:
        folder: Output folder; it is created.
        name: The name of the model.
        entry: The settings of the model.
        train: The settings that all models share.
        trainer: The trainer after the last step.
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
