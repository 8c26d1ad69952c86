"""Stage `train`: trains one model with all its seeds; resumable, with live curves.

`genmodels train vae` trains the entry `models.vae`, one process per seed. The main process shows
the progress and writes to MLflow, so a slow store does not delay the training.

Writes `outputs/train/<model>/<seed>/` (weights.safetensors, config.json, history.csv,
snapshots.safetensors), `reports/history/<model>.csv` and `outputs/timing/train/<model>.json`.
"""

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import filelock
import torch

from pipelines.settings import command_line, files, paths, resolved, resolving
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.resolved import TrainSettings
from pipelines.tracking.run import Identity, Run
from pipelines.tracking.store import open_store
from pipelines.training import fingerprint, workers
from pipelines.training.one_run import Started, Training, train_all


@contextmanager
def only_trainer(name: str) -> Iterator[None]:
    """Locks a model: two trainers of one model in this checkout would write the same folder.

    A trainer can survive a killed `dvc` on a system without parent-death signals.

    Raises:
        UserError: Another process is training the model; the message contains its id.
    """
    path = paths.OUTPUTS / ".locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".pid")
    try:
        lock = filelock.FileLock(path).acquire(timeout=0)
    except filelock.Timeout:
        pid = holder.read_text() if holder.is_file() else "unknown"
        raise UserError(f"{name} is already being trained by process {pid}") from None
    with lock:
        try:
            files.write_text(holder, str(os.getpid()))
            yield
        finally:
            holder.unlink(missing_ok=True)


def train(settings: TrainSettings, seeds: Sequence[int]) -> None:
    """Trains all seeds of a model and logs their rows live.

    Raises:
        UserError: The settings do not fit the data, a loss is not finite, or a worker was killed.
    """
    name, entry = settings.model, settings.entry
    digests = {seed: fingerprint.from_files(name, seed) for seed in seeds}
    runs: dict[int, Run] = {}

    def log(training: Training, message: Any) -> None:
        seed = training.seed
        if isinstance(message, Started):
            identity = Identity(name, entry["kind"], message.family, seed, digests[seed])
            params = identity.params(entry, settings.train.model_dump())
            tags = {"version.torch": torch.__version__}
            runs[seed] = open_store().start_run(identity, params, tags)
            runs[seed].log_rows(message.rows)
        elif isinstance(message, dict):
            runs[seed].log_rows([message])

    status = "FAILED"
    with files.new_folder(paths.TRAIN / name) as folder:
        trainings = [
            Training(
                model=name,
                entry=entry,
                seed=seed,
                train=settings.train,
                prepared=None,
                folder=folder / str(seed),
                checkpoint=fingerprint.checkpoint(digest),
                where=f"params.yaml: models.{name}",
            )
            for seed, digest in digests.items()
        ]
        device = workers.choose_device(settings.train.device)
        try:
            results = train_all("train", trainings, device, log)
            lines = []
            for one in trainings:
                header, *rows = (one.folder / "history.csv").read_text("utf-8").splitlines()
                lines += [f"{one.seed},{row}" for row in rows]
            history = "\n".join([f"seed,{header}", *lines, ""])
            files.write_text(paths.HISTORY / f"{name}.csv", history)
            timing = {str(seed): end.timing for seed, end in zip(seeds, results, strict=True)}
            files.write_json(paths.TIMING / "train" / f"{name}.json", timing)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            for run in runs.values():
                run.finish(status)
    # Last: until the stage has succeeded, a checkpoint may be the only copy of a finished seed.
    for one in trainings:
        shutil.rmtree(one.checkpoint.parent, ignore_errors=True)


@exit_on_user_error
def main() -> None:
    """Runs the stage for one model."""
    parser = command_line.parser("train", __doc__)
    parser.add_argument("model", metavar="MODEL", help=command_line.MODEL)
    name = parser.parse_args().model
    settings = resolving.load(TrainSettings, name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "DVC_STAGE" in os.environ:  # if dvc is killed, its trainer has to end, too
        workers.die_with_parent()
    with only_trainer(name):
        train(settings, files.read_json(resolved.path(resolved.SEEDS), resolved.MADE_BY))


if __name__ == "__main__":
    main()
