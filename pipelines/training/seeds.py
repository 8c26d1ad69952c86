"""Trains models, one process for each model and seed.

The stage `train`, reproductions and the retraining of a study call `train_all`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmodels.training.loop import LoopSettings
from pipelines.settings import files
from pipelines.settings.sections import Train
from pipelines.training import workers
from pipelines.training.one_run import fit, load_images, write_seed


@dataclass(frozen=True, eq=False)
class Training:
    """One model with one seed.

    Attributes:
        model: The model's name.
        entry: The model's settings, complete.
        seed: The training seed.
        train: Section `train`.
        prepared: Output folder of `prepare`; None for that of the pipeline.
        folder: Its output folder, which is replaced when the training has ended.
        checkpoint: Its resumable state. It stays when the training has ended: the caller deletes it
            when the outputs are safe.
        where: File and key of the entry, for errors.
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

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.model} seed {self.seed}"


@dataclass(frozen=True)
class Finished:
    """A training has ended.

    Attributes:
        timing: Its cost; None where it diverged.
        diverged: The reason why it has no model; None where it has one.
    """

    timing: dict[str, Any] | None
    diverged: str | None = None


def train_all(
    trainings: Sequence[Training],
    device: str,
    handle: Callable[[Training, Any], None],
    at_once: int | None = None,
) -> list[Finished]:
    """Trains side by side and writes the output folders.

    Args:
        trainings: The trainings, at least one.
        device: `cpu` or `cuda`.
        handle: Receives each training's messages, in this process: `Started`, rows (dicts),
            `Trained` and `Finished`.
        at_once: Largest number of processes on a CPU (default: the cores).

    Returns:
        The end of each training, in their order.

    Raises:
        UserError: The settings do not fit the data, a loss is not finite, or a worker was killed.
    """
    ends: dict[int, Finished] = {}

    def take(index: int, message: Any) -> None:
        if isinstance(message, Finished):
            ends[index] = message
        handle(trainings[index], message)

    workers.run(
        functools.partial(_train, trainings, device),
        range(len(trainings)),
        device=device,
        threads=trainings[0].train.threads,
        handle=take,
        at_once=at_once,
        label=lambda index: trainings[index].label,
    )
    return [ends[index] for index in range(len(trainings))]


def _train(trainings: Sequence[Training], device: str, index: int, send: workers.Send) -> None:
    one = trainings[index]
    data = load_images(device, one.prepared)
    train = one.train
    loop = LoopSettings(one.seed, train.precision, train.num_snapshots, train.snapshot_images)
    try:
        trainer, timing = fit(one.entry, data, loop, one.checkpoint, device, send, one.where)
    except FloatingPointError as error:
        if not one.may_diverge:
            raise
        send(Finished(None, str(error)))
        return
    with files.new_folder(one.folder) as folder:
        write_seed(folder, one.model, one.entry, train, trainer)
    send(Finished(timing))
