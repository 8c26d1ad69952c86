"""Compares models with each other, or this checkout with another commit, in the terminal."""

import argparse
from collections.abc import Sequence
from typing import Any, get_args

from evaluation import metrics
from evaluation.comparing import pairs
from evaluation.comparing.leaderboard import Row
from pipelines.comparing import commits, models_text, sources
from pipelines.comparing.text_table import allowed_width
from pipelines.settings import command_line, files, params
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.params import Params
from pipelines.settings.refusals import suggest
from pipelines.settings.sections import Extractor
from pipelines.tracking.store import without_collector

EPILOG = """\
examples:
  genmodels compare vae gan_r1
  genmodels compare vae gan_r1 dcgan --metric fid_classifier kid_classifier
  genmodels compare vae vae-s0-1f2e3d4c --store     # with an earlier run
  genmodels compare --against HEAD~3                # the selected models, then and now

The verdict is on each model, compared with the first one (or on each model now, compared with the
commit): better, worse, different (a metric without a direction), not distinguishable, or not
testable with that few training seeds. The test is Welch's t-test over training seeds, level 0.05,
Holm-adjusted over all pairs of models that are compared in the same metric.
"""


def choose(rows: Sequence[Row], wanted: Sequence[str], rank_by: str) -> list[str]:
    """The metrics to compare: the wanted ones, or all with `rank_by` in front."""
    known = list(dict.fromkeys(name for row in rows for name in row.summary))
    _check_metrics(wanted, known)
    # In a report of several likelihoods, elbo_gaussian is elbo.
    ranking = [name for name in known if rank_by == name or rank_by.startswith(f"{name}_")]
    valued = [name for name in known if any(row.summary.get(name, {}).get("n") for row in rows)]
    return list(dict.fromkeys(wanted or [*ranking[-1:], *valued]))


def _check_metrics(wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise UserError(
                f"--metric: {name}: not measured{suggest(name, known)}; "
                f"there are {', '.join(known)}"
            )


def _parse() -> argparse.Namespace:
    parser = command_line.parser("compare", __doc__, EPILOG)
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="two or more models or MLflow runs; with --against any number "
        "(default: the selected models)",
    )
    parser.add_argument(
        "--metric", nargs="+", default=[], metavar="NAME", help="only these metrics"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--store", action="store_true", help="read from the MLflow store instead of the files"
    )
    source.add_argument(
        "--against", metavar="COMMIT", help="a commit, branch or tag to compare this checkout with"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="with --against, every mean that changed (default: significant changes and "
        "report.rank_by)",
    )
    parser.add_argument("--json", metavar="FILE", help="a file to write the comparison to, as JSON")
    arguments = parser.parse_args()
    if arguments.all and not arguments.against:
        parser.error("--all needs --against")
    if len(arguments.models) < 2 and not arguments.against:
        parser.error("two or more models are needed, or --against COMMIT")
    return arguments


def _compare_models(arguments: argparse.Namespace, settings: Params) -> tuple[str, Any]:
    """The text and the data about models compared with the first one."""
    models = sources.read(arguments.models, list(settings.models), arguments.store)
    rows = [model.row for model in models]
    chosen = choose(rows, arguments.metric, settings.report.rank_by)
    comparison = pairs.compare(rows, chosen)
    text = models_text.as_text(comparison, models, allowed_width(), bool(arguments.metric))
    return text, models_text.as_data(comparison, models)


def _compare_commits(arguments: argparse.Namespace, settings: Params) -> tuple[str, Any]:
    """The text and the data about this checkout compared with a commit."""
    old, new = commits.at_commit(arguments.against), commits.of_checkout()
    for name in arguments.models:
        if name not in old.metrics and name not in new.metrics:
            known = sorted({*old.metrics, *new.metrics})
            raise UserError(
                f"{name}: no results in reports/metrics/ on either side{suggest(name, known)}; "
                f"there are {', '.join(known) or 'none'}"
            )
    directions = params.measured(metrics.available(), get_args(Extractor))
    changed = commits.changes(old, new, directions, arguments.models)
    measured = dict.fromkeys(name for model in new.metrics.values() for name in model)
    _check_metrics(arguments.metric, list(measured))

    def is_shown(change: commits.Change) -> bool:
        if arguments.metric:
            return change.metric in arguments.metric
        unusual = change.difference is None or change.difference.is_significant
        return arguments.all or unusual or change.metric == settings.report.rank_by

    text = commits.as_text(changed, is_shown, allowed_width())
    title = f"This checkout compared with {old.label}:\n\n"
    nothing = f"No value and no setting differs from {old.label}."
    return title + text if text else nothing, commits.as_data(old.label, changed)


@exit_on_user_error
@without_collector()
def main() -> None:
    """Compares as the command line says."""
    arguments = _parse()
    out = files.out_file(arguments.json, "--json") if arguments.json else None
    settings = params.load()
    compare = _compare_commits if arguments.against else _compare_models
    text, data = compare(arguments, settings)
    print(text)
    if out:
        try:
            files.write_json(out, data)
        except OSError as error:
            raise UserError(f"--json: {arguments.json}: {error.strerror or error}") from None


if __name__ == "__main__":
    main()
