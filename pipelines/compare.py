"""Compares models in the terminal: means, intervals, verdicts, and the settings that differ."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from evaluation.comparing import pairs, verdict
from evaluation.comparing.leaderboard import Row
from evaluation.comparing.pairs import Comparison, Line
from pipelines.comparing import compared_models
from pipelines.comparing.compared_models import Compared
from pipelines.comparing.compared_text import as_text, differing
from pipelines.comparing.text_table import allowed_width
from pipelines.pictures.out_file import out_file
from pipelines.settings import files, params
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.refusals import suggest
from pipelines.tracking import store as tracking

EPILOG = """\
examples:
  python -m pipelines.compare vae gan_r1
  python -m pipelines.compare vae gan_r1 dcgan --metric fid_classifier kid_classifier
  python -m pipelines.compare vae vae-s0-1f2e3d4c --store     # with a run of another time

The verdict is on each model, compared with the first one: better, worse, different (a metric
without a direction), not distinguishable (Welch's t-test over training seeds, level 0.05,
Holm-adjusted over all pairs of models), or not testable with that few seeds.
"""
NOTHING = {"n": 0}
#: Of a model, or of a run: `vae`, `vae-s0-1f2e3d4c`.
_NAME = re.compile(r"[\w-]+")


class _Settings(params.Section):
    """What this command reads of params.yaml."""

    selected: params.Selected
    models: dict[str, dict[str, Any]]
    report: params.Report


def read(names: Sequence[str], known: Sequence[str], from_store: bool) -> list[Compared]:
    """Finds each model: in the files, or where it is not there, or is asked to be, in the store.

    Args:
        names: Models or runs.
        known: The keys of `models:`.
        from_store: Whether to leave the files alone.

    Raises:
        UserError: A name stands twice or is unknown, or a model was not evaluated.
    """
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: named twice")
        if not _NAME.fullmatch(name):
            raise UserError(f"{name}: neither a model's name nor a run's")
    if from_store and not compared_models.has_store():
        uri = tracking.store_uri()
        raise UserError(f"--store: there is no MLflow store ({tracking.hide_password(uri)})")
    return [_read_one(name, from_store, known) for name in names]


def _read_one(name: str, from_store: bool, known: Sequence[str]) -> Compared:
    if not from_store and compared_models.has_files(name):
        return compared_models.from_files(name)
    if compared_models.has_store():
        return compared_models.from_store(tracking.open_store(), name, known)
    if name in known:
        raise UserError(f"{name}: not evaluated; `dvc repro evaluate@{name}` does it")
    raise UserError(
        f"{name}: no such model{suggest(name, list(known))}; there are {', '.join(known)}"
    )


def choose(rows: Sequence[Row], asked: Sequence[str], rank_by: str) -> list[str]:
    """The metrics to compare: those asked for, or all, the one to rank by in front.

    Raises:
        UserError: None of the models knows a metric that was asked for.
    """
    known = list(dict.fromkeys(name for row in rows for name in row.summary))
    for name in asked:
        if name not in known:
            raise UserError(
                f"--metric: {name}: not measured{suggest(name, known)}; "
                f"there are {', '.join(known)}"
            )
    # In a report of several likelihoods, elbo_gaussian is elbo.
    ranking = [name for name in known if rank_by == name or rank_by.startswith(f"{name}_")]
    had = [name for name in known if any(row.summary.get(name, NOTHING)["n"] for row in rows)]
    return list(dict.fromkeys(asked or [*ranking[-1:], *had]))


def as_data(found: Comparison, models: Sequence[Compared]) -> dict[str, Any]:
    """Everything that the command prints as JSON values, in full precision."""
    return {
        "models": [
            {
                "name": model.row.name,
                "kind": model.row.kind,
                "seeds": list(model.row.records),
                "source": model.source,
                "params": dict(model.params),
            }
            for model in models
        ],
        "against": found.rows[0].name,
        "comparisons": {
            other.name: [_line_data(found, line, other) for line in found.lines(other)]
            for other in found.rows[1:]
        },
        "not_comparable": found.refused,
        "lacking": found.lacking,
        "verdicts": {
            metric: verdict.verdict(board, column.key)
            for metric, (board, column) in found.boards.items()
            if column.higher_is_better is not None
        },
        "params_that_differ": {
            key: dict(zip((model.row.name for model in models), values, strict=True))
            for key, values in differing(models)
        },
    }


def _line_data(found: Comparison, line: Line, other: Row) -> dict[str, Any]:
    sides = {"baseline": line.baseline, "model": line.model}
    return {
        "metric": line.metric,
        **{
            key: {"mean": s.cell.mean, "std": s.cell.std, "n": s.cell.n, "interval": s.interval}
            for key, s in sides.items()
        },
        "difference": line.difference.value,
        "verdict": line.difference.verdict,
        "p": line.difference.p,
        "seeds_needed": found.seeds_needed(line.metric, other),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.compare",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="two or more models, or runs")
    parser.add_argument("--metric", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument(
        "--store", action="store_true", help="from the MLflow store, even where there are files"
    )
    parser.add_argument("--json", metavar="FILE", help="write the same as data")
    given = parser.parse_args()
    if len(given.models) < 2:
        parser.error("at least two models are needed")
    return given


@exit_on_user_error
@tracking.without_collector()
def main() -> None:
    """Compares as the command line says."""
    given = parse()
    out = out_file(given.json, "--json") if given.json else None
    settings = params.load_part(_Settings)
    models = read(given.models, list(settings.models), given.store)
    rows = [model.row for model in models]
    found = pairs.compare(rows, choose(rows, given.metric, settings.report.rank_by))
    print(as_text(found, models, allowed_width(), bool(given.metric)))
    if out:
        try:
            files.write_json(out, as_data(found, models))
        except OSError as error:
            raise UserError(f"--json: {given.json}: {error.strerror or error}") from None


if __name__ == "__main__":
    main()
