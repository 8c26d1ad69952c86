"""What `compare --against` prints: the values that changed, models and settings that differ."""

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from evaluation.comparing.significance import LEVEL
from evaluation.comparing.tables import in_words
from evaluation.comparing.value_text import MISSING, decimals, mean_and_sd, signed
from pipelines.comparing.changes import Change, Changes
from pipelines.comparing.text_table import cut, settings_table, text_table

HEADER = ("model", "metric", "before", "now", "change", "verdict")
LEGEND = (
    "Values: mean ± sd over training seeds. Verdict on the new value: Welch's t-test over the "
    f"seeds, level {LEVEL}, Holm-adjusted over the models whose value of the metric changed; not "
    "testable: too few seeds."
)
CHANGED_INPUTS = (
    "Not the same at both commits (dvc.lock): {}. A change of a value can come from there."
)


def as_text(changes: Changes, is_shown: Callable[[Change], bool], width: int) -> str:
    """Everything that the command prints; empty where nothing changed.

    Args:
        changes: What changed.
        is_shown: Whether a change of a value gets a line; the others are counted.
        width: Maximum number of columns.
    """
    parts = []
    if rows := [_row(change) for change in changes.values if is_shown(change)]:
        lines = text_table(HEADER, rows, right=(2, 3, 4))
        parts = ["\n".join(cut(line, width) for line in lines), textwrap.fill(LEGEND, width)]
    sentences = [_left_out([change for change in changes.values if not is_shown(change)])]
    sentences += [
        f"{title}: {', '.join(names)}." if names else ""
        for title, names in (
            ("Models added", changes.models_added),
            ("Models removed", changes.models_removed),
            ("Metrics added", changes.metrics_added),
            ("Metrics removed", changes.metrics_removed),
        )
    ]
    sentences += [CHANGED_INPUTS.format(", ".join(changes.inputs)) if changes.inputs else ""]
    parts += [textwrap.fill(sentence, width) for sentence in sentences if sentence]
    if changes.settings:
        parts.append(settings_table(["before", "now"], changes.settings, width))
    return "\n\n".join(parts)


def _row(change: Change) -> list[str]:
    old, new = change.old, change.new
    places = decimals([old.mean, new.mean])
    verdict = in_words(new.reason) if new.mean is None else "no value before"
    moved = MISSING
    if change.difference is not None:
        moved = signed(change.difference.value, places)
        verdict = change.difference.short()
        verdict += f", {old.n} → {new.n} seeds" if old.n != new.n else ""
    values = [mean_and_sd(side.mean, side.std, places) for side in (old, new)]
    return [change.model, change.metric, *values, moved, verdict]


def _left_out(changes: Sequence[Change]) -> str:
    verdicts = Counter(c.difference.verdict for c in changes if c.difference is not None)
    if not verdicts:
        return ""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    means = f"{len(changes)} other mean{'s' if len(changes) != 1 else ''}"
    return f"{means} changed: {counts}. --all shows them."


def as_data(old: str, changes: Changes) -> dict[str, Any]:
    """Everything that changed, as JSON values in full precision.

    Args:
        old: The commit that this checkout is compared with.
        changes: What changed.
    """
    return {
        "against": old,
        "changes": [
            {
                "model": change.model,
                "metric": change.metric,
                **{
                    side: {"mean": cell.mean, "std": cell.std, "n": cell.n, "reason": cell.reason}
                    for side, cell in (("before", change.old), ("now", change.new))
                },
                "difference": change.difference and change.difference.value,
                "verdict": change.difference and change.difference.verdict,
                "p": change.difference and change.difference.p,
            }
            for change in changes.values
        ],
        "models_added": list(changes.models_added),
        "models_removed": list(changes.models_removed),
        "metrics_added": list(changes.metrics_added),
        "metrics_removed": list(changes.metrics_removed),
        "inputs_that_differ": list(changes.inputs),
        "settings_that_differ": {
            setting.key: dict(zip(("before", "now"), setting.values, strict=True))
            for setting in changes.settings
        },
    }
