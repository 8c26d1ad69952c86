"""Compares models in the terminal: means, intervals, verdicts, and the settings that differ."""

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import pairwise, verdict
from evaluation.comparison import MINUS, Row, decimals, mean_and_sd, number
from evaluation.pairwise import Comparison, Line, Side
from pipelines import compared_models, files, params, tracking
from pipelines.compared_models import Compared
from pipelines.errors import UserError, exit_on_user_error
from pipelines.params import suggest
from pipelines.text_table import GAP, allowed_width, cut, text_table, width_of

EPILOG = """\
examples:
  python -m pipelines.compare vae gan_r1
  python -m pipelines.compare vae gan_r1 dcgan --metric fid_classifier kid_classifier
  python -m pipelines.compare vae vae-s0-1f2e3d4c --store     # with a run of another time

A verdict is on the model named second, held against the first: better, worse, not told apart
(Welch's t test, Holm-adjusted over the pairs, 0.05), or not testable with so few seeds.
"""
ABSENT = "–"
NOTHING = {"n": 0}
#: Of a model, or of a run: `vae`, `vae-s0-1f2e3d4c`.
_NAME = re.compile(r"[\w-]+")
#: A setting's value, such as a schedule, may be of any length.
LONGEST_VALUE = 36


class _Settings(params.Section):
    """What this command reads of params.yaml."""

    selected: params.Selected
    models: dict[str, dict[str, Any]]
    report: params.Report


def read(names: Sequence[str], from_store: bool) -> list[Compared]:
    """Finds each model: in the files, or where it is not there, or is asked to be, in the store.

    Raises:
        UserError: A name stands twice or is unknown, or a model was not evaluated.
    """
    known = list(params.load_part(_Settings).models)
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: named twice")
        if not _NAME.fullmatch(name):
            raise UserError(f"{name}: neither a model's name nor a run's")
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
    # In a report of several observation models, elbo_gaussian is elbo.
    ranking = [name for name in known if rank_by == name or rank_by.startswith(f"{name}_")]
    had = [name for name in known if any(row.summary.get(name, NOTHING)["n"] for row in rows)]
    return list(dict.fromkeys(asked or [*ranking[-1:], *had]))


def as_text(found: Comparison, models: Sequence[Compared], width: int, asked: bool) -> str:
    """Everything that the command prints.

    Args:
        found: The comparison.
        models: The models, likewise.
        width: At most so many columns; sd, then intervals are left out where it is too narrow.
        asked: Whether the metrics were named, so that each of them gets its verdict.
    """
    parts = [_header(models, width), textwrap.fill(_protocol(found), width)]
    parts += [_table(found, other, width) for other in found.rows[1:] if found.boards]
    parts += [_not_compared(found, width), _verdicts(found, width, asked), _settings(models, width)]
    return "\n\n".join(part for part in parts if part)


def _header(models: Sequence[Compared], width: int) -> str:
    indent = max(len(model.row.name) for model in models)
    lines = []
    for model in models:
        size = model.row.cost.get("num_parameters")
        facts = [model.row.kind, *([f"{size:,} parameters"] if size else [])]
        facts.append(f"seeds {', '.join(model.row.records)}")
        text = f"{model.row.name:{indent}}{GAP}{'; '.join([*facts, model.source])}"
        lines.append(textwrap.fill(text, width, subsequent_indent=" " * 4))
    return "\n".join(lines)


def _protocol(found: Comparison) -> str:
    if not found.boards:
        return ""
    shown = next(iter(found.boards.values()))[1].protocol
    of = shown["reference"]
    n = f", {shown['n_real']:,} images a side" if shown["n_real"] else ""
    return f"Measured on the {of['split']} split of {of['dataset']}{n}."


def _table(found: Comparison, other: Row, width: int) -> str:
    lines = found.lines(other)
    first = found.rows[0]
    for with_sd, with_interval in ((True, True), (False, True), (False, False)):
        cells = [_cells(line, with_sd, with_interval) for line in lines]
        columns = [_padded(column) for column in zip(*cells, strict=True)]
        rows = [
            # An ideal, as in `→ 0.5`, stands in the report; here it would take a column's width.
            [f"{line.metric} {line.arrow[:1]}".rstrip(), *texts, _verdict(line)]
            for line, texts in zip(lines, zip(*columns, strict=True), strict=True)
        ]
        header = ["metric", first.name, other.name, "change", "verdict"]
        table = text_table(header, rows, right=(1, 2, 3))
        if width_of(table) <= width:
            break
    shown = "mean ± sd over seeds" if with_sd else "mean over seeds"
    shown += ", Student's 95 % interval" if with_interval else ""
    left_out = "" if with_sd else "; more in a wider terminal or with --json"
    directed = [line for line in lines if line.improves is not None]
    apart = sum(line.verdict in {pairwise.BETTER, pairwise.WORSE} for line in directed)
    better = sum(bool(line.improves) for line in directed)
    return "\n".join(
        [
            *textwrap.wrap(f"{other.name} against {first.name}: {shown}{left_out}.", width),
            "",
            *(cut(line, width) for line in table),
            "",
            *textwrap.wrap(
                f"{other.name} has the better mean in {better} of {len(directed)} metrics that "
                f"differ and have a direction; the seeds tell {apart} of them apart.",
                width,
            ),
        ]
    )


def _cells(line: Line, with_sd: bool, with_interval: bool) -> list[list[str]]:
    """The parts of each model's column and of the difference."""
    places = decimals([line.first.cell.mean, line.other.cell.mean])

    def side(shown: Side, expected: int) -> list[str]:
        mean, n = shown.cell.mean, shown.cell.n
        text = mean_and_sd(shown.cell, places) if with_sd else number(mean, places)
        parts = [text if n == expected else f"({n} seed{'s' if n != 1 else ''}) {text}"]
        if with_interval:
            bounds = shown.interval
            inside = ", ".join(number(b, places) for b in bounds) if bounds else ""
            parts.append(f"[{inside}]" if inside else "")
        return parts

    most = max(line.first.cell.n, line.other.cell.n)
    return [side(line.first, most), side(line.other, most), [_signed(line.difference, places)]]


def _padded(column: Sequence[Sequence[str]]) -> list[str]:
    """Cells of several parts as texts whose parts stand below each other."""
    widths = [max(map(len, part)) for part in zip(*column, strict=True)]
    return [
        GAP.join(part.rjust(width) for part, width in zip(parts, widths, strict=True) if width)
        for parts in column
    ]


def _signed(value: float, places: int) -> str:
    text = number(value, places)
    return f"+{text}" if value > 0 and not text.startswith(MINUS) else text


def _verdict(line: Line) -> str:
    return line.verdict if line.p is None else f"{line.verdict}, p {line.p:.2g}"


def _not_compared(found: Comparison, width: int) -> str:
    lines = [f"{metric}: not comparable: {why}" for metric, why in found.refused.items()]
    # Many metrics are lacking for one reason: a model without an encoder has no reconstruction.
    reasons: dict[str, list[str]] = {}
    for metric, why in found.lacking.items():
        reasons.setdefault(why, []).append(metric)
    lines += [f"{', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    if not lines:
        return ""
    wrapped = [
        textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ") for line in lines
    ]
    return "\n".join(["Not compared:", *wrapped])


def _verdicts(found: Comparison, width: int, asked: bool) -> str:
    """In sentences: of the metric to rank by, or of each one that was asked for."""
    ranked = [
        textwrap.fill(verdict.verdict(board, column.key), width)
        for board, column in found.boards.values()
        if column.higher_is_better is not None
    ]
    return "\n".join(ranked if asked else ranked[:1])


def differing(models: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """The settings that differ: for each key the value of each model, a dash where it has none."""
    keys = dict.fromkeys(key for model in models for key in model.params)
    values = [(key, [model.params.get(key, ABSENT) for model in models]) for key in keys]
    return [(key, found) for key, found in values if len(set(found)) > 1]


def _settings(models: Sequence[Compared], width: int) -> str:
    found = differing(models)
    if not found:
        return "No setting differs."
    header = ["setting", *(model.row.name for model in models)]
    rows = [[key, *(cut(value, LONGEST_VALUE) for value in values)] for key, values in found]
    lines = [cut(line, width) for line in text_table(header, rows)]
    return "\n".join(["Settings that differ:", "", *lines])


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
    sides = {"first": line.first, "other": line.other}
    return {
        "metric": line.metric,
        **{
            key: {"mean": s.cell.mean, "std": s.cell.std, "n": s.cell.n, "interval": s.interval}
            for key, s in sides.items()
        },
        "difference": line.difference,
        "verdict": line.verdict,
        "p": line.p,
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
def main() -> None:
    """Compares as the command line says."""
    given = parse()
    if given.json and Path(given.json).is_dir():
        raise UserError(f"--json: {given.json}: a folder; name a file")
    models = read(given.models, given.store)
    rows = [model.row for model in models]
    rank_by = params.load_part(_Settings).report.rank_by
    found = pairwise.compare(rows, choose(rows, given.metric, rank_by))
    print(as_text(found, models, allowed_width(), bool(given.metric)))
    if given.json:
        files.write_json(Path(given.json), as_data(found, models))


if __name__ == "__main__":
    main()
