"""Gates: bounds in params.yaml on the values of the models.

`genmodels gate` ends with exit code 1 if a gate is broken; the report shows all gates. A
bound is a constant, so a gate needs no test of a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.comparing.leaderboard import Row
from evaluation.comparing.tables import in_words
from pipelines.settings.sections import ALL, CHAMPION, Gate, Report


@dataclass(frozen=True)
class GateResult:
    """One bound of a gate and the value of one model.

    Attributes:
        model: Name of the model; `champion: <name>` for the best one.
        metric: Name of the metric.
        of: `mean` or `worst` of the training seeds.
        value: The value; None if it is missing.
        bound: `at most` or `at least`.
        threshold: The bound.
        reason: Why the value is missing; empty if there is one.
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
        """Whether there is a value within the bound."""
        if self.value is None:
            return False
        at_most = self.bound == "at most"
        return self.value <= self.threshold if at_most else self.value >= self.threshold

    @property
    def relation(self) -> str:
        """The bound as a formula: `≤ 15`."""
        return f"{'≤' if self.bound == 'at most' else '≥'} {self.threshold:g}"


def check_gates(
    report: Report, rows: Mapping[str, Row | str], champion: str | None = None
) -> list[GateResult]:
    """Checks every gate on the models that it names.

    Args:
        report: Section `report` of params.yaml.
        rows: The selected models in their order; for a model without results the reason instead.
        champion: The best model by `report.rank_by`; None if no model has a value.

    Returns:
        One result per gate, model and bound, in the order of params.yaml.
    """
    results = []
    for gate in report.gates:
        if gate.model == ALL:
            models = [(name, name) for name, row in rows.items() if _applies(gate.metric, row)]
            models = models or [(ALL, "")]  # a gate that applies to no model is broken
        elif gate.model == CHAMPION:
            models = [(f"champion: {champion}" if champion else CHAMPION, champion or "")]
        else:
            models = [(gate.model, gate.model)]
        for label, name in models:
            results += _check_gate(gate, label, rows.get(name, _absent(gate)))
    return results


def _absent(gate: Gate) -> str:
    if gate.model == ALL:
        return "no selected model can have this value"
    return "no model has a rank" if gate.model == CHAMPION else "not selected"


def _applies(metric: str, row: Row | str) -> bool:
    """False if a model of this kind can never have such a value."""
    return isinstance(row, str) or row.summary.get(metric, {}).get("reason") != "not_supported"


def _check_gate(gate: Gate, label: str, row: Row | str) -> list[GateResult]:
    values, reason = (None, row) if isinstance(row, str) else _values(gate.metric, row)
    results = []
    for bound, threshold in (("at least", gate.min), ("at most", gate.max)):
        if threshold is not None:
            value = _of(values, gate.of, bound) if values else None
            results.append(GateResult(label, gate.metric, gate.of, value, bound, threshold, reason))
    return results


def _values(metric: str, row: Row) -> tuple[list[float] | None, str]:
    """One value per training seed; None and the reason if a seed has no value."""
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
