"""Gates: bounds of params.yaml that the models' values have to keep.

`python -m pipelines.gate` ends with exit code 1 where one is broken, and the report shows them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.comparing.leaderboard import Row
from evaluation.comparing.tables import in_words
from pipelines.settings.params import ALL, CHAMPION, Gate, Report


@dataclass(frozen=True)
class Outcome:
    """One bound held against one model.

    Attributes:
        model: Its name; of the champion `champion: <name>`.
        metric: Whose value it is.
        of: `mean`, or `worst` (of the training seeds).
        value: None where it is missing.
        bound: `at most` or `at least`.
        threshold: The bound.
        reason: Why there is no value; empty where there is one.
    """

    model: str
    metric: str
    of: str
    value: float | None
    bound: str
    threshold: float
    reason: str

    @property
    def passed(self) -> bool:
        """Whether there is a value, and it keeps the bound."""
        if self.value is None:
            return False
        at_most = self.bound == "at most"
        return self.value <= self.threshold if at_most else self.value >= self.threshold

    @property
    def relation(self) -> str:
        """The bound as people write it."""
        return f"{'≤' if self.bound == 'at most' else '≥'} {self.threshold:g}"


def outcomes(
    report: Report, rows: Mapping[str, Row | str], champion: str | None = None
) -> list[Outcome]:
    """Holds every gate against the models it is about.

    Args:
        report: Section `report` of params.yaml.
        rows: The selected models in their order; of one without results the reason instead.
        champion: The best of them by `report.rank_by`; None where nothing can be ranked.

    Returns:
        A line for each gate, model and bound, in the order of params.yaml.
    """
    found = []
    for gate in report.gates:
        if gate.model == ALL:
            about = [(name, name) for name, row in rows.items() if _applies(gate.metric, row)]
            about = about or [(ALL, "")]  # a gate that holds nothing back is broken
        elif gate.model == CHAMPION:
            about = [(f"champion: {champion}" if champion else CHAMPION, champion or "")]
        else:
            about = [(gate.model, gate.model)]
        for label, name in about:
            found += _held_against(gate, label, rows.get(name, _absent(gate)))
    return found


def _absent(gate: Gate) -> str:
    if gate.model == ALL:
        return "no selected model can have it"
    return "no model has a rank" if gate.model == CHAMPION else "not selected"


def _applies(metric: str, row: Row | str) -> bool:
    """False where a model cannot have such a value, whatever its training."""
    return isinstance(row, str) or row.summary.get(metric, {}).get("reason") != "not_supported"


def _held_against(gate: Gate, label: str, row: Row | str) -> list[Outcome]:
    values, reason = (None, row) if isinstance(row, str) else _values(gate.metric, row)
    found = []
    for bound, threshold in (("at least", gate.min), ("at most", gate.max)):
        if threshold is not None:
            value = _of(values, gate.of, bound) if values else None
            found.append(Outcome(label, gate.metric, gate.of, value, bound, threshold, reason))
    return found


def _values(metric: str, row: Row) -> tuple[list[float] | None, str]:
    """One value a training seed, or None and why: a seed without a value must not hide."""
    records = [
        next((record for record in seed if record["name"] == metric), None)
        for seed in row.records.values()
    ]
    values = [r["value"] for r in records if r is not None and r["value"] is not None]
    if values and len(values) == len(records):
        return values, ""
    missing = next((r["reason"] for r in records if r is not None and r["value"] is None), None)
    reason = in_words(missing or "not_measured")
    return None, f"{len(values)} of {len(records)} seeds: {reason}" if values else reason


def _of(values: Sequence[float], of: str, bound: str) -> float:
    if of == "mean":
        return sum(values) / len(values)
    return max(values) if bound == "at most" else min(values)
