"""Stage `train`: trains one model with all its seeds; resumable, with live curves.

`genmodels train vae` trains the entry `models.vae`, one process per seed. The main process shows
the progress and writes to MLflow, so a slow store does not delay the training.

Writes `outputs/train/<model>/<seed>/` (weights.safetensors, config.json, history.csv,
snapshots.safetensors), `reports/history/<model>.csv` and `outputs/timing/train/<model>.json`.
"""

import csv
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import torch

from pipelines.settings import command_line, files, paths, resolved, resolving
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.resolved import TrainSettings
from pipelines.tracking.run import Identity, Run
from pipelines.tracking.store import open_store
from pipelines.training import fingerprint, workers
from pipelines.training.one_run import Started, Trained, as_csv
from pipelines.training.progress import Progress
from pipelines.training.seeds import Finished, Training, train_all


class _Live:
    """Shows the progress of the trainings and logs their rows live."""

    def __init__(
        self, settings: TrainSettings, trainings: Sequence[Training], digests: Mapping[int, str]
    ) -> None:
        self.settings, self.digests = settings, digests
        self.name, self.entry = settings.model, settings.entry
        self.runs: dict[int, Run] = {}
        steps = {training.seed: self.entry["num_steps"] for training in trainings}
        self.progress = Progress(f"train {self.name}", steps)

    def handle(self, training: Training, message: Any) -> None:
        """Handles a message of a worker."""
        seed = training.seed
        if isinstance(message, Started):
            if message.step:
                self.progress.say(f"{training.label}: resumed at step {message.step:,}")
            self.progress.update(seed, message.step)
            self.runs[seed] = self._start_run(seed, message.family)
            self.runs[seed].log_rows(message.rows)
        elif isinstance(message, Trained):
            self.progress.update(seed, message.step, loss=f"{message.loss:.3g}")
        elif isinstance(message, Finished):
            self.progress.finish(seed)
        else:
            self.runs[seed].log_rows([message])

    def _start_run(self, seed: int, family: str) -> Run:
        identity = Identity(self.name, self.entry["kind"], family, seed, self.digests[seed])
        settings = {**self.entry, "train": self.settings.train.model_dump(), "seed": seed}
        tags = {"version.torch": torch.__version__}
        return open_store().start_run(identity, settings, tags)

    def finish(self, status: str) -> None:
        """Ends the MLflow runs that were started."""
        for run in self.runs.values():
            run.finish(status)


@contextmanager
def only_trainer(name: str) -> Iterator[None]:
    """Locks a model: two trainers of one model in this checkout would write the same folder.

    A trainer can survive a killed `dvc` on a system without parent-death signals.

    Raises:
        UserError: Another process is training the model; the message contains its id.
    """
    path = paths.OUTPUTS / ".locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=0)
    holder = path.with_suffix(".pid")
    try:
        lock.acquire()
    except filelock.Timeout:
        pid = holder.read_text() if holder.is_file() else "unknown"
        raise UserError(f"{name} is already being trained by process {pid}") from None
    try:
        files.write_text(holder, str(os.getpid()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def train(settings: TrainSettings, seeds: Sequence[int]) -> None:
    """Trains all seeds of a model.

    Args:
        settings: The settings of the stage.
        seeds: The training seeds.

    Raises:
        UserError: The settings do not fit the data, a loss is not finite, or a worker was killed.
    """
    name = settings.model
    digests = {seed: fingerprint.from_files(name, seed) for seed in seeds}
    checkpoints = {seed: paths.CHECKPOINTS / digest for seed, digest in digests.items()}
    status = "FAILED"
    with files.new_folder(paths.TRAIN / name) as folder:
        trainings = [
            Training(
                model=name,
                entry=settings.entry,
                seed=seed,
                train=settings.train,
                prepared=None,
                folder=folder / str(seed),
                checkpoint=checkpoints[seed] / "checkpoint.pt",
                where=f"params.yaml: models.{name}",
            )
            for seed in seeds
        ]
        device = workers.choose_device(settings.train.device)
        live = _Live(settings, trainings, digests)
        try:
            with live.progress:
                results = train_all(trainings, device, live.handle)
            rows = [
                {"seed": seed} | row
                for seed in seeds
                for row in _read_csv(folder / str(seed) / "history.csv")
            ]
            timing = {str(seed): one.timing for seed, one in zip(seeds, results, strict=True)}
            files.write_text(paths.HISTORY / f"{name}.csv", as_csv(rows))
            files.write_json(paths.TIMING / "train" / f"{name}.json", timing)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            live.finish(status)
    # Last: until the stage has succeeded, a checkpoint may be the only copy of a finished seed.
    for checkpoint in checkpoints.values():
        shutil.rmtree(checkpoint, ignore_errors=True)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@exit_on_user_error
def main() -> None:
    """Runs the stage for one model."""
    parser = command_line.parser("train", __doc__)
    parser.add_argument("model", metavar="MODEL", help=command_line.MODEL)
    name = parser.parse_args().model
    settings = resolving.load(TrainSettings, name)
    signal.signal(signal.SIGTERM, _interrupt)
    if "DVC_STAGE" in os.environ:  # if dvc is killed, its trainer has to end, too
        workers.die_with_parent()
    with only_trainer(name):
        train(settings, resolved.load_seeds())


if __name__ == "__main__":
    main()
