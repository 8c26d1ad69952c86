"""Runs the Optuna studies of tune.yaml, and shows and applies their results."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.settings import command_line, files, params, paths
from pipelines.settings.command_line import whole_number
from pipelines.settings.errors import exit_on_user_error
from pipelines.training import workers
from pipelines.tuning import apply, page, results, retrain, runs
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning.results import verdict
from pipelines.tuning.storage import Storage
from pipelines.tuning.worker import default_workers, search

#: A URL with a password does not belong on a command line.
STORAGE_VARIABLE = "GENMODELS_OPTUNA_STORAGE"


def finish(storage: Storage, at_once: int | None, *, is_complete: bool) -> str:
    """Writes the study's folder, its page and its summary for the report; returns the verdict.

    `is_complete`: whether to retrain what is missing, in at most `at_once` processes; else the
    report's summary stays.

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
        plots = page.draw(storage, content)
        files.write_text(folder / "index.html", page.render(study, content, plots))
        if is_complete and best["retrained"]:
            summary = page.summary(study, content, plots)
            files.write_json(paths.STUDY_SUMMARIES / f"{study.name}.json", summary)
    content = results.load(paths.TUNE / study.name)
    runs.log(storage, content)
    return verdict(content)


def _run(options: argparse.Namespace) -> None:
    overrides = {"trials": options.trials, "seed": options.seed, "seconds": options.timeout}
    study = tune_study.load(options.study, params.load(), **overrides)
    device = workers.choose_device(study.train.device)
    num_workers = options.workers or default_workers(device)
    url = options.storage or os.environ.get(STORAGE_VARIABLE) or tune_storage.default_url()
    storage, to_the_end = None, not options.search_only
    with tune_storage.one_line_errors(url):
        try:
            storage = tune_storage.open_study(study, url, options.grace)
            search(storage, url, num_workers, device, to_the_end=to_the_end)
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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("tune", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run or continue a study, retrain its top trials")
    show = commands.add_parser("show", help="print the result of a study")
    apply_parser = commands.add_parser(
        "apply", help="write the settings of a trial into params.yaml"
    )
    for command in (run, show, apply_parser):
        command.add_argument("study", help="name of the study in tune.yaml")
    count: dict[str, Any] = {"type": whole_number(1), "metavar": "N"}
    run.add_argument("--trials", help="total number of trials (overrides tune.yaml)", **count)
    workers_help = "number of processes (default: number of cores; 1 on CUDA)"
    run.add_argument("--workers", help=workers_help, **count)
    timeout_help = "stop starting trials after S seconds (overrides tune.yaml)"
    run.add_argument("--timeout", type=float, metavar="S", help=timeout_help)
    seed_help = "sampler seed (overrides tune.yaml)"
    run.add_argument("--seed", type=int, metavar="N", help=seed_help)
    run.add_argument(
        "--storage",
        metavar="URL",
        help="storage, such as postgresql+psycopg://host/name (default: environment variable "
        f"{STORAGE_VARIABLE}, else optuna.db)",
    )
    run.add_argument(
        "--grace",
        type=whole_number(1),
        default=tune_storage.GRACE,
        metavar="S",
        help="heartbeat timeout in seconds; use the same value on every machine "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--search-only",
        action="store_true",
        help="stop after the trials: no retraining, no page (for all but one of several machines)",
    )
    apply_parser.add_argument("--trial", type=int, metavar="N", help="trial (default: the winner)")
    name_help = "name of the entry (default: <model>_tuned)"
    apply_parser.add_argument("--as", dest="as_name", metavar="NAME", help=name_help)
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command."""
    options = parse(arguments)
    if options.command == "run":
        _run(options)
    elif options.command == "show":
        _show(options)
    else:
        print(apply.apply(options.study, options.trial, options.as_name), end="")


if __name__ == "__main__":
    main()
