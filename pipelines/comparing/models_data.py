"""What `compare --json` writes about models: everything that it prints, in full precision."""

from collections.abc import Sequence
from typing import Any

from evaluation.comparing import verdict
from evaluation.comparing.leaderboard import Row
from evaluation.comparing.pairs import Comparison, Line
from pipelines.comparing.sources import Compared
from pipelines.reporting.differing import differing


def as_data(comparison: Comparison, models: Sequence[Compared]) -> dict[str, Any]:
    """The comparison as JSON values.

    Args:
        comparison: The comparison.
        models: Its models, in the same order.
    """
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
            model.name: [_line(comparison, line, model) for line in comparison.lines(model)]
            for model in others
        },
        "not_comparable": comparison.refused,
        "lacking": comparison.lacking,
        "verdicts": {
            metric: verdict.verdict(board, column.key)
            for metric, (board, column) in comparison.boards.items()
            if column.higher_is_better is not None
        },
        "settings_that_differ": {
            setting.key: dict(zip((m.row.name for m in models), setting.values, strict=True))
            for setting in differing([model.params for model in models])
        },
    }


def _line(comparison: Comparison, line: Line, model: Row) -> dict[str, Any]:
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
        "seeds_needed": comparison.seeds_needed(line.metric, model),
    }
