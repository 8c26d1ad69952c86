"""What `genmodels compare` prints about models, within a width, and what `--json` writes."""

import textwrap
from collections.abc import Sequence
from typing import Any

from evaluation.comparing import verdict
from evaluation.comparing.leaderboard import Row
from evaluation.comparing.pairs import Comparison, Line, Side
from evaluation.comparing.value_text import decimals, interval, mean_and_sd, signed
from pipelines.comparing.sources import Compared
from pipelines.comparing.text_table import GAP, cut, settings_table, text_table
from pipelines.reporting.differing import differing


def as_text(
    comparison: Comparison, models: Sequence[Compared], width: int, every_verdict: bool
) -> str:
    """Everything that the command prints about the models, in the order of the comparison.

    `width` is the maximum number of columns; a narrow table has no sd, a narrower one no intervals.
    With `every_verdict` each metric gets a verdict in sentences, else only the first one.
    """
    parts = [_header(models, width)]
    if comparison.boards:
        protocol = next(iter(comparison.boards.values()))[1].protocol
        reference = protocol["reference"]
        n = f", {protocol['n_real']:,} images on each side" if protocol["n_real"] else ""
        text = f"Measured on the {reference['split']} split of {reference['dataset']}{n}."
        parts.append(textwrap.fill(text, width))
        parts += [_table(comparison, row, width) for row in comparison.rows[1:]]
    parts.append(_not_compared(comparison, width))
    verdicts = [textwrap.fill(" ".join(lines), width) for lines in _verdicts(comparison).values()]
    parts.append("\n".join(verdicts if every_verdict else verdicts[:1]))
    settings = differing([model.params for model in models])
    names = [model.row.name for model in models]
    parts.append(settings_table(names, settings, width) if settings else "No setting differs.")
    return "\n\n".join(part for part in parts if part)


def as_data(comparison: Comparison, models: Sequence[Compared]) -> dict[str, Any]:
    """The same as JSON values, in full precision."""
    baseline, *others = comparison.rows
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
        "baseline": baseline.name,
        "comparisons": {
            model.name: [
                {
                    "metric": line.metric,
                    "baseline": _side_data(line.baseline),
                    "model": _side_data(line.model),
                    "difference": line.difference.value,
                    "verdict": line.difference.verdict,
                    "p": line.difference.p,
                    "seeds_needed": comparison.seeds_needed(line.metric, model),
                }
                for line in comparison.lines(model)
            ]
            for model in others
        },
        "not_comparable": comparison.refused,
        "lacking": comparison.lacking,
        "verdicts": _verdicts(comparison),
        "settings_that_differ": {
            setting.key: dict(zip((m.row.name for m in models), setting.values, strict=True))
            for setting in differing([model.params for model in models])
        },
    }


def _side_data(side: Side) -> dict[str, Any]:
    cell = side.cell
    return {"mean": cell.mean, "std": cell.std, "n": cell.n, "interval": side.interval}


def _verdicts(comparison: Comparison) -> dict[str, list[str]]:
    """The sentences about each metric that has a direction."""
    return {
        metric: verdict.verdict(board, column.key)
        for metric, (board, column) in comparison.boards.items()
        if column.higher_is_better is not None
    }


def _header(models: Sequence[Compared], width: int) -> str:
    indent = max(len(model.row.name) for model in models)
    lines = []
    for model in models:
        size = model.row.cost.get("num_parameters")
        facts = [model.row.kind, *([f"{size:,} parameters"] if size else [])]
        facts += [f"seeds {', '.join(model.row.records)}", model.source]
        text = f"{model.row.name:{indent}}{GAP}{'; '.join(facts)}"
        lines.append(textwrap.fill(text, width, subsequent_indent=" " * 4))
    return "\n".join(lines)


def _table(comparison: Comparison, model: Row, width: int) -> str:
    lines = comparison.lines(model)
    baseline = comparison.rows[0]
    for with_sd, with_interval in ((True, True), (False, True), (False, False)):
        cells = [_cells(line, with_sd, with_interval) for line in lines]
        columns = [_padded(column) for column in zip(*cells, strict=True)]
        rows = [
            # The report has an ideal, as in `→ 0.5`; here it would be as wide as a column.
            [f"{line.metric} {line.arrow[:1]}".rstrip(), *texts, line.difference.short()]
            for line, *texts in zip(lines, *columns, strict=True)
        ]
        header = ["metric", baseline.name, model.name, "change", "verdict"]
        table = text_table(header, rows, right=(1, 2, 3))
        if max(map(len, table)) <= width:
            break
    shown = "mean ± sd over seeds" if with_sd else "mean over seeds"
    shown += ", Student's 95 % interval" if with_interval else ""
    left_out = "" if with_sd else "; more in a wider terminal or with --json"
    directed = [line for line in lines if line.improves is not None]
    significant = sum(line.difference.is_significant for line in directed)
    better = sum(bool(line.improves) for line in directed)
    summary = (
        f"{model.name} has the better mean in {better} of {len(directed)} metrics that differ and "
        f"have a direction; {significant} of these differences are significant."
    )
    title = textwrap.fill(f"{model.name} against {baseline.name}: {shown}{left_out}.", width)
    body = "\n".join(cut(line, width) for line in table)
    return f"{title}\n\n{body}\n\n{textwrap.fill(summary, width)}"


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
