"""Runs the Optuna studies of tune.yaml, and shows and applies their results."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from pipelines.settings import command_line, files, params, paths
from pipelines.settings.command_line import whole_number
from pipelines.settings.errors import exit_on_user_error
from pipelines.training import workers
from pipelines.training.one_run import Trained
from pipelines.tuning import apply as tune_apply
from pipelines.tuning import best as tune_best
from pipelines.tuning import files as tune_files
from pipelines.tuning import page, runs
from pipelines.tuning import retrain as tune_retrain
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning import worker as tune_worker
from pipelines.tuning.storage import Storage
from pipelines.tuning.worker import Begun, Ended

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
            self.say(f"trial {message.number}: {self._told(message)}")
        self.bar.set_postfix_str("; ".join(self.states.values()), refresh=False)

    def _told(self, ended: Ended) -> str:
        told = zip(self.study.values, ended.values, strict=False)
        values = ", ".join(f"{name} {value:.4g}" for name, value in told)
        return f"{values or ended.state.lower()}{f' ({ended.reason})' if ended.reason else ''}"

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(f"{self.study.name}: {line}", file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Ends the bar."""
        self.bar.close()


def search(
    storage: Storage, url: str, num_workers: int, seconds: float | None, *, to_the_end: bool = False
) -> None:
    """Runs the trials that are left of a study's budget.

    Args:
        storage: The study.
        url: The storage.
        num_workers: Processes side by side.
        seconds: After so many no trial is begun; None for no limit.
        to_the_end: Wait for trials that other machines are running, and run those they lose.

    Raises:
        UserError: A worker failed, or the storage does not answer.
        KeyboardInterrupt: Ctrl-C; what is finished is kept, and the rest is queued again.
    """
    device = workers.choose_device(storage.study.train.device)
    storage.reap()
    deadline = None if seconds is None else time.time() + seconds
    board = _Board(storage)
    try:
        tune_worker.run(storage, url, num_workers, device, deadline, board.handle)
        told = 0
        while to_the_end and (deadline is None or time.time() < deadline):
            if storage.num_waiting:  # another machine has lost it
                tune_worker.run(storage, url, num_workers, device, deadline, board.handle)
            elif running := storage.num_running:
                if running != told:
                    board.say(f"waiting for {running} that other processes or machines run")
                told = running
                time.sleep(tune_storage.beat_of(storage.grace))
                storage.reap()
            else:
                break
    finally:
        board.close()


def finish(storage: Storage, at_once: int | None, *, retrained: bool) -> str:
    """Writes the study's folder, its page and its summary for the report; returns the verdict.

    Args:
        storage: The study.
        at_once: Processes at most, for the trainings at the full budget.
        retrained: Whether those are done that are missing; else the report keeps what it has.

    Raises:
        UserError: A training failed.
    """
    study = storage.study
    trials = tune_files.ended(storage)
    best = tune_retrain.chosen(study, trials, tune_files.front(storage))
    if retrained and best:
        print(f"{study.name}: the best {len(best)} and the starting entry at the full budget")
        done = tune_retrain.retrain(study, best, at_once)
    else:
        done = tune_retrain.done(study, best) if best else []
    with files.new_folder(paths.TUNE / study.name) as folder:
        tune_files.write(folder, storage, tune_best.summary(study, best, done))
        for one in done:
            tune_best.draw(study, one, folder / "retrained" / f"{one.row}.png")
        files.write_text(folder / "index.html", page.render(page.load(folder)))
    found = page.load(paths.TUNE / study.name)
    if retrained and done:
        files.write_json(paths.STUDY_SUMMARIES / f"{study.name}.json", page.summary(found))
    runs.log(storage, found)
    return tune_best.told(found.study, found.best)


def _run(given: argparse.Namespace) -> None:
    settings = params.load()
    study = tune_study.load(given.study, settings, given.trials, given.seed, given.timeout)
    device = workers.choose_device(study.train.device)
    at_once = given.workers or tune_worker.default_workers(device)
    url = _url(given)
    with tune_storage.lost(url):
        storage = tune_storage.create(study, url, given.grace)
        try:
            search(storage, url, at_once, study.settings.seconds, to_the_end=not given.search_only)
            if given.search_only:
                return
            told = finish(storage, at_once, retrained=True)
        except KeyboardInterrupt:
            if not given.search_only:
                finish(storage, at_once, retrained=False)
            print(f"{study.name}: stopped; the same command goes on with it", file=sys.stderr)
            raise
    print(told)
    print(f"page: {paths.TUNE / study.name / 'index.html'}")


def _show(given: argparse.Namespace) -> None:
    found = page.load(paths.TUNE / given.study)
    print(tune_best.told(found.study, found.best))
    print(f"page: {paths.TUNE / given.study / 'index.html'}")


def _apply(given: argparse.Namespace) -> None:
    print(tune_apply.apply(given.study, given.trial, given.as_name), end="")


def _url(given: argparse.Namespace) -> str:
    return given.storage or os.environ.get(STORAGE_VARIABLE) or tune_storage.default_url()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("tune", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run or go on with a study, retrain its best, show it")
    run.add_argument("study", help="a key of tune: in tune.yaml")
    run.add_argument(
        "--trials", type=whole_number(1), metavar="N", help="in all, instead of its own"
    )
    run.add_argument(
        "--workers", type=whole_number(1), metavar="N", help="processes (default: cores; 1 on CUDA)"
    )
    run.add_argument("--timeout", type=float, metavar="S", help="begin no trial after so long")
    run.add_argument("--seed", type=int, metavar="N", help="of the sampler, instead of its own")
    run.add_argument(
        "--storage",
        metavar="URL",
        help=f"such as postgresql+psycopg://host/name (default: {STORAGE_VARIABLE}, optuna.db)",
    )
    run.add_argument(
        "--grace",
        type=whole_number(1),
        default=tune_storage.GRACE,
        metavar="S",
        help="a trial of another machine is lost after so long without a sign of life (default: "
        "%(default)s; the same on all of them)",
    )
    run.add_argument(
        "--search-only",
        action="store_true",
        help="end with the trials: of several machines one runs the study to its end afterwards",
    )
    run.set_defaults(do=_run)
    show = commands.add_parser("show", help="say what a study has found")
    show.add_argument("study", help="a key of tune: in tune.yaml that was run")
    show.set_defaults(do=_show)
    apply = commands.add_parser("apply", help="write a trial's settings into params.yaml")
    apply.add_argument("study", help="a key of tune: in tune.yaml that was run")
    apply.add_argument("--trial", type=int, metavar="N", help="instead of the winner")
    apply.add_argument(
        "--as", dest="as_name", metavar="NAME", help="the entry (default: <model>_tuned)"
    )
    apply.set_defaults(do=_apply)
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command."""
    given = parse(arguments)
    given.do(given)


if __name__ == "__main__":
    main()
