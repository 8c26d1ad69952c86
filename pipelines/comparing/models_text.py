"""What `genmodels compare` prints: tables and sentences within a width."""

import textwrap
from collections.abc import Sequence

from evaluation.comparing import verdict
from evaluation.comparing.leaderboard import Row
from evaluation.comparing.pairs import Comparison, Line, Side
from evaluation.comparing.value_text import decimals, interval, mean_and_sd, signed
from pipelines.comparing.sources import Compared
from pipelines.comparing.text_table import GAP, cut, settings_table, text_table, width_of
from pipelines.reporting.differing import differing


def as_text(
    comparison: Comparison, models: Sequence[Compared], width: int, every_verdict: bool
) -> str:
    """Everything that the command prints.

    Args:
        comparison: The comparison.
        models: Its models, in the same order.
        width: Maximum number of columns; a narrow table has no sd, a narrower one no intervals.
        every_verdict: Whether each metric gets a verdict in sentences, or only the first one.
    """
    parts = [_header(models, width), textwrap.fill(_protocol(comparison), width)]
    parts += [_table(comparison, row, width) for row in comparison.rows[1:] if comparison.boards]
    parts += [_not_compared(comparison, width), _verdicts(comparison, width, every_verdict)]
    parts += [_settings(models, width)]
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


def _protocol(comparison: Comparison) -> str:
    if not comparison.boards:
        return ""
    protocol = next(iter(comparison.boards.values()))[1].protocol
    reference = protocol["reference"]
    n = f", {protocol['n_real']:,} images on each side" if protocol["n_real"] else ""
    return f"Measured on the {reference['split']} split of {reference['dataset']}{n}."


def _table(comparison: Comparison, model: Row, width: int) -> str:
    lines = comparison.lines(model)
    baseline = comparison.rows[0]
    for with_sd, with_interval in ((True, True), (False, True), (False, False)):
        cells = [_cells(line, with_sd, with_interval) for line in lines]
        columns = [_padded(column) for column in zip(*cells, strict=True)]
        rows = [
            # The report has an ideal, as in `→ 0.5`; here it would be as wide as a column.
            [f"{line.metric} {line.arrow[:1]}".rstrip(), *texts, line.difference.short()]
            for line, texts in zip(lines, zip(*columns, strict=True), strict=True)
        ]
        header = ["metric", baseline.name, model.name, "change", "verdict"]
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
            *textwrap.wrap(f"{model.name} against {baseline.name}: {shown}{left_out}.", width),
            "",
            *(cut(line, width) for line in table),
            "",
            *textwrap.wrap(
                f"{model.name} has the better mean in {better} of {len(directed)} metrics that "
                f"differ and have a direction; {significant} of these differences are significant.",
                width,
            ),
        ]
    )


def _cells(line: Line, with_sd: bool, with_interval: bool) -> list[list[str]]:
    """The parts of each model's column and of the difference."""
    places = decimals([line.baseline.cell.mean, line.model.cell.mean])

    def side(shown: Side, expected: int) -> list[str]:
        cell = shown.cell
        text = mean_and_sd(cell.mean, cell.std if with_sd else None, places)
        parts = [text if cell.n == expected else f"({cell.n} seed{'s' * (cell.n != 1)}) {text}"]
        return [*parts, interval(shown.interval, places)] if with_interval else parts

    most = max(line.baseline.cell.n, line.model.cell.n)
    change = [signed(line.difference.value, places)]
    return [side(line.baseline, most), side(line.model, most), change]


def _padded(column: Sequence[Sequence[str]]) -> list[str]:
    """Cells of several parts as texts whose parts are aligned."""
    widths = [max(map(len, part)) for part in zip(*column, strict=True)]
    return [
        GAP.join(part.rjust(width) for part, width in zip(parts, widths, strict=True) if width)
        for parts in column
    ]


def _not_compared(comparison: Comparison, width: int) -> str:
    lines = [f"{metric}: not comparable: {why}" for metric, why in comparison.refused.items()]
    # Many metrics are missing for one reason: a model without an encoder has no reconstruction.
    reasons: dict[str, list[str]] = {}
    for metric, why in comparison.lacking.items():
        reasons.setdefault(why, []).append(metric)
    lines += [f"{', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    if not lines:
        return ""
    wrapped = [
        textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ") for line in lines
    ]
    return "\n".join(["Not compared:", *wrapped])


def _verdicts(comparison: Comparison, width: int, every: bool) -> str:
    """The verdicts in sentences, on each metric or only on the first one that has a direction."""
    ranked = [
        textwrap.fill(" ".join(verdict.verdict(board, column.key)), width)
        for board, column in comparison.boards.values()
        if column.higher_is_better is not None
    ]
    return "\n".join(ranked if every else ranked[:1])


def _settings(models: Sequence[Compared], width: int) -> str:
    settings = differing([model.params for model in models])
    if not settings:
        return "No setting differs."
    return settings_table([model.row.name for model in models], settings, width)
