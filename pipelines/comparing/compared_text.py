"""What `python -m pipelines.compare` prints: tables and sentences within a width."""

import textwrap
from collections.abc import Sequence

from evaluation.comparing import verdict
from evaluation.comparing.leaderboard import MINUS, MISSING, Row, decimals, mean_and_sd, number
from evaluation.comparing.pairs import Comparison, Line, Side
from pipelines.comparing.compared_models import Compared
from pipelines.comparing.text_table import GAP, cut, text_table, width_of

#: A setting's value, such as a schedule, may be of any length.
LONGEST_VALUE = 36


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
            [f"{line.metric} {line.arrow[:1]}".rstrip(), *texts, line.difference.short()]
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
    significant = sum(line.difference.is_significant for line in directed)
    better = sum(bool(line.improves) for line in directed)
    return "\n".join(
        [
            *textwrap.wrap(f"{other.name} against {first.name}: {shown}{left_out}.", width),
            "",
            *(cut(line, width) for line in table),
            "",
            *textwrap.wrap(
                f"{other.name} has the better mean in {better} of {len(directed)} metrics that "
                f"differ and have a direction; {significant} of these differences are significant.",
                width,
            ),
        ]
    )


def _cells(line: Line, with_sd: bool, with_interval: bool) -> list[list[str]]:
    """The parts of each model's column and of the difference."""
    places = decimals([line.baseline.cell.mean, line.model.cell.mean])

    def side(shown: Side, expected: int) -> list[str]:
        mean, n = shown.cell.mean, shown.cell.n
        text = mean_and_sd(shown.cell, places) if with_sd else number(mean, places)
        parts = [text if n == expected else f"({n} seed{'s' if n != 1 else ''}) {text}"]
        if with_interval:
            bounds = shown.interval
            inside = ", ".join(number(b, places) for b in bounds) if bounds else ""
            parts.append(f"[{inside}]" if inside else "")
        return parts

    most = max(line.baseline.cell.n, line.model.cell.n)
    change = [_signed(line.difference.value, places)]
    return [side(line.baseline, most), side(line.model, most), change]


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
        textwrap.fill(" ".join(verdict.verdict(board, column.key)), width)
        for board, column in found.boards.values()
        if column.higher_is_better is not None
    ]
    return "\n".join(ranked if asked else ranked[:1])


def differing(models: Sequence[Compared]) -> list[tuple[str, list[str]]]:
    """The settings that differ: for each key the value of each model, a dash where it has none."""
    keys = dict.fromkeys(key for model in models for key in model.params)
    values = [(key, [model.params.get(key, MISSING) for model in models]) for key in keys]
    return [(key, found) for key, found in values if len(set(found)) > 1]


def _settings(models: Sequence[Compared], width: int) -> str:
    found = differing(models)
    if not found:
        return "No setting differs."
    header = ["setting", *(model.row.name for model in models)]
    rows = [[key, *(cut(value, LONGEST_VALUE) for value in values)] for key, values in found]
    lines = [cut(line, width) for line in text_table(header, rows)]
    return "\n".join(["Settings that differ:", "", *lines])
