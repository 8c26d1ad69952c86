"""Runs the Optuna studies of tune.yaml, and shows and applies their results."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from pipelines.settings import command_line, files, params, paths
from pipelines.settings.command_line import whole_number
from pipelines.settings.errors import exit_on_user_error
from pipelines.training import workers
from pipelines.training.one_run import StepDone
from pipelines.training.progress import Progress
from pipelines.tuning import apply as tune_apply
from pipelines.tuning import page, results, retrain, runs
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning import worker as tune_worker
from pipelines.tuning.page import Plots
from pipelines.tuning.storage import Storage
from pipelines.tuning.verdict import verdict
from pipelines.tuning.worker import TrialEnded, TrialStarted

#: A URL with a password does not belong on a command line.
STORAGE_VARIABLE = "GENMODELS_OPTUNA_STORAGE"
SECONDS_BETWEEN_LOOKS = 2


class _Board:
    """The progress of a search: the trials that this command runs, in the order of their start."""

    def __init__(self, progress: Progress[int], storage: Storage) -> None:
        self.progress, self.study = progress, storage.study
        self.numbers: dict[int, int] = {}
        self.places: dict[int, int] = {}
        self.free = sorted(progress.parts, reverse=True)

    def label(self, place: int) -> str:
        """Name of the trial at a place."""
        return f"trial {self.numbers.get(place, '?')}"

    def handle(self, worker: int, message: Any) -> None:
        """Takes a worker's message."""
        if isinstance(message, TrialStarted):
            if worker not in self.places and self.free:  # else it replaces a killed worker
                self.places[worker] = self.free.pop()
            if worker in self.places:
                self.numbers[self.places[worker]] = message.number
                self.progress.update(self.places[worker], 0)
        elif isinstance(message, StepDone) and worker in self.places:
            self.progress.update(self.places[worker], message.step, loss=message.loss)
        elif isinstance(message, TrialEnded):
            pairs = zip(self.study.values, message.values, strict=False)
            values = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
            reason = f" ({message.reason})" if message.reason else ""
            result = f"{values or message.state.lower()}{reason}"
            if worker in self.places:
                self.progress.finish(self.places.pop(worker), result)
            else:
                self.progress.say(f"{self.study.name}: trial {message.number}: {result}")


def search(
    storage: Storage, url: str, num_workers: int, seconds: float | None, *, to_the_end: bool = False
) -> None:
    """Runs the missing trials of a study.

    Args:
        storage: The study.
        url: Its storage.
        num_workers: Number of processes.
        seconds: Time after which no trial is started; None = no limit.
        to_the_end: Whether to wait for trials of other machines and to run those that they lose.

    Raises:
        UserError: A worker failed, or the storage does not answer.
        KeyboardInterrupt: Ctrl-C: finished trials are kept, the others are queued again.
    """
    study = storage.study
    device = workers.choose_device(study.train.device)
    deadline = None if seconds is None else time.time() + seconds
    printed = 0
    while deadline is None or time.time() < deadline:
        if missing := storage.num_missing:
            amounts = dict.fromkeys(range(missing), study.settings.num_steps)
            with Progress(study.name, amounts) as progress:
                board = _Board(progress, storage)
                progress.label = board.label
                tune_worker.search(storage, url, num_workers, device, deadline, board.handle)
        running = storage.num_running
        if not to_the_end or not (running or storage.num_missing):
            break
        if running not in (0, printed):
            line = f"{study.name}: waiting for {running} trials of other processes or machines"
            print(line, file=sys.stderr)
        printed = running
        storage.record_missing_heartbeats()
        time.sleep(SECONDS_BETWEEN_LOOKS if running else 0)
        storage.fail_stale_trials()


def finish(storage: Storage, at_once: int | None, *, is_complete: bool) -> str:
    """Writes the study's folder, its page and its summary for the report; returns the verdict.

    Args:
        storage: The study.
        at_once: Largest number of processes for retraining.
        is_complete: Whether to retrain what is missing; else the report's summary stays.

    Raises:
        UserError: A training failed.
    """
    study = storage.study
    top = retrain.top(study, results.ended(storage), results.front(storage))
    if is_complete and top:
        print(f"{study.name}: retraining the top {len(top)} and the original settings")
        retrain.rows(study, top).run(at_once=at_once)
    with files.new_folder(paths.TUNE / study.name) as folder:
        best = retrain.summary(study, top)
        results.write(folder, storage, best)
        for row in best["retrained"]:
            retrain.draw(study, row, folder / "retrained" / f"{row}.png")
        content = results.load(folder)
        plots = Plots.of(storage, content)
        files.write_text(folder / "index.html", page.render(content, plots))
        if is_complete and best["retrained"]:
            summary = page.summary(content, plots)
            files.write_json(paths.STUDY_SUMMARIES / f"{study.name}.json", summary)
    content = results.load(paths.TUNE / study.name)
    runs.log(storage, content)
    return verdict(content)


def _run(options: argparse.Namespace) -> None:
    study = tune_study.load(
        options.study, params.load(), options.trials, options.seed, options.timeout
    )
    device = workers.choose_device(study.train.device)
    num_workers = options.workers or tune_worker.default_workers(device)
    url = options.storage or os.environ.get(STORAGE_VARIABLE) or tune_storage.default_url()
    storage, to_the_end = None, not options.search_only
    with tune_storage.one_line_errors(url):
        try:
            storage = tune_storage.open_study(study, url, options.grace)
            search(storage, url, num_workers, study.settings.seconds, to_the_end=to_the_end)
            if not to_the_end:
                return
            result = finish(storage, num_workers, is_complete=True)
        except KeyboardInterrupt:
            print(f"{study.name}: stopped; the same command continues it", file=sys.stderr)
            if storage is not None and to_the_end:
                finish(storage, num_workers, is_complete=False)
            raise
    print(result)
    print(f"page: {paths.TUNE / study.name / 'index.html'}")


def _show(options: argparse.Namespace) -> None:
    print(verdict(results.load(paths.TUNE / options.study)))
    print(f"page: {paths.TUNE / options.study / 'index.html'}")


def _apply(options: argparse.Namespace) -> None:
    print(tune_apply.apply(options.study, options.trial, options.as_name), end="")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("tune", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run or continue a study, retrain its top trials")
    run.set_defaults(do=_run)
    show = commands.add_parser("show", help="print the result of a study")
    show.set_defaults(do=_show)
    apply = commands.add_parser("apply", help="write the settings of a trial into params.yaml")
    apply.set_defaults(do=_apply)
    for command in (run, show, apply):
        command.add_argument("study", help="name of the study in tune.yaml")
    add = run.add_argument
    add(
        "--trials",
        type=whole_number(1),
        metavar="N",
        help="total number of trials (overrides tune.yaml)",
    )
    add(
        "--workers",
        type=whole_number(1),
        metavar="N",
        help="number of processes (default: number of cores; 1 on CUDA)",
    )
    add(
        "--timeout",
        type=float,
        metavar="S",
        help="stop starting trials after S seconds (overrides tune.yaml)",
    )
    add("--seed", type=int, metavar="N", help="sampler seed (overrides tune.yaml)")
    add(
        "--storage",
        metavar="URL",
        help="storage, such as postgresql+psycopg://host/name (default: environment variable "
        f"{STORAGE_VARIABLE}, else optuna.db)",
    )
    add(
        "--grace",
        type=whole_number(1),
        default=tune_storage.GRACE,
        metavar="S",
        help="heartbeat timeout in seconds; use the same value on every machine "
        "(default: %(default)s)",
    )
    add(
        "--search-only",
        action="store_true",
        help="stop after the trials: no retraining, no page (for all but one of several machines)",
    )
    apply.add_argument("--trial", type=int, metavar="N", help="trial (default: the winner)")
    apply.add_argument(
        "--as", dest="as_name", metavar="NAME", help="name of the entry (default: <model>_tuned)"
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command."""
    options = parse(arguments)
    options.do(options)


if __name__ == "__main__":
    main()
