"""Tuning: studies of params.yaml, run, shown and applied. `python -m pipelines.tune --help`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from pipelines import params, tune_storage, tune_study, tune_worker, workers
from pipelines.errors import exit_on_user_error
from pipelines.studies import positive
from pipelines.train import Trained
from pipelines.tune_storage import Storage
from pipelines.tune_study import Study
from pipelines.tune_worker import Begun, Ended

#: An address with a password does not belong on a command line.
STORAGE_VARIABLE = "GENMODELS_OPTUNA_STORAGE"


class _Board:
    """The progress of a study: a bar in a terminal, and a line a trial."""

    def __init__(self, storage: Storage) -> None:
        self.study = storage.study
        total = self.study.settings.trials
        done = tune_storage.num_begun(storage.trials)
        self.states: dict[int, str] = {}
        self.numbers: dict[int, int] = {}
        self.bar = tqdm(
            desc=self.study.name,
            total=total,
            initial=min(done, total),
            unit="trial",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def handle(self, worker: int, message: Any) -> None:
        """Takes a worker's message."""
        if isinstance(message, Begun):
            self.numbers[worker] = message.number
            self.states[worker] = f"trial {message.number}"
        elif isinstance(message, Trained):
            percent = 100 * message.step / self.study.settings.num_steps
            self.states[worker] = f"trial {self.numbers[worker]} {percent:.0f} %"
        elif isinstance(message, Ended):
            self.states.pop(worker, None)
            self.bar.update()
            self._say(f"{self.study.name}: trial {message.number}: {self._told(message)}")
        self.bar.set_postfix_str("; ".join(self.states.values()), refresh=False)

    def _told(self, ended: Ended) -> str:
        told = zip(self.study.values, ended.values, strict=False)
        values = ", ".join(f"{name} {value:.4g}" for name, value in told)
        return f"{values or ended.state.lower()}{f' ({ended.reason})' if ended.reason else ''}"

    def _say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Ends the bar."""
        self.bar.close()


def search(study: Study, url: str, num_workers: int, seconds: float | None) -> Storage:
    """Runs the trials that are left of a study's budget.

    Args:
        study: The study.
        url: The storage.
        num_workers: Processes side by side.
        seconds: After so many no trial is begun; None for no limit.

    Raises:
        UserError: A worker failed, or the storage does not answer.
        KeyboardInterrupt: Ctrl-C; what is finished is kept, and the rest is queued again.
    """
    device = workers.choose_device(study.train.device)
    storage = tune_storage.create(study, url)
    storage.reap()
    deadline = None if seconds is None else time.time() + seconds
    board = _Board(storage)
    try:
        tune_worker.run(storage, url, num_workers, device, deadline, board.handle)
    finally:
        board.close()
    return storage


def _run(given: argparse.Namespace) -> None:
    settings = params.load()
    study = tune_study.load(given.study, settings, given.trials, given.seed)
    num_workers = given.workers or workers.num_cores()
    seconds = study.settings.seconds if given.timeout is None else given.timeout
    search(study, _url(given), num_workers, seconds)


def _url(given: argparse.Namespace) -> str:
    return given.storage or os.environ.get(STORAGE_VARIABLE) or tune_storage.default_url()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tune", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run or go on with a study, retrain its best, show it")
    run.add_argument("study", help="a key of tune: in params.yaml")
    run.add_argument("--trials", type=positive, metavar="N", help="in all, instead of its own")
    run.add_argument("--workers", type=positive, metavar="N", help="processes (default: cores)")
    run.add_argument("--timeout", type=float, metavar="S", help="begin no trial after so long")
    run.add_argument("--seed", type=int, metavar="N", help="of the sampler, instead of its own")
    run.add_argument(
        "--storage",
        metavar="URL",
        help=f"such as postgresql+psycopg://host/name (default: {STORAGE_VARIABLE}, optuna.db)",
    )
    run.set_defaults(do=_run)
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command."""
    given = parse(arguments)
    given.do(given)


if __name__ == "__main__":
    main()
