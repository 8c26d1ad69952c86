"""Gates: bounds in params.yaml on the values of the models.

`genmodels gate` ends with exit code 1 if a gate is broken; the report shows all gates. A
bound is a constant, so a gate needs no test of a difference.
"""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from evaluation.comparing.leaderboard import Row
from evaluation.comparing.tables import in_words
from pipelines.settings.sections import ALL, CHAMPION, Gate, Report


@dataclass(frozen=True)
class GateResult:
    """One bound of a gate and the value of one model, or the reason why it is missing.

    Attributes:
        model: Name of the model; `champion: <name>` for the best one.
        of: `mean` or `worst` of the training seeds.
        relation: The bound as a formula: `≤ 15`.
        passed: Whether there is a value within the bound.
    """

    model: str
    metric: str
    of: str
    value: float | None
    relation: str
    passed: bool
    reason: str


def check_gates(
    report: Report, rows: Mapping[str, Row | str], champion: str | None = None
) -> list[GateResult]:
    """Checks every gate on the models that it names: one result per gate, model and bound.

    Args:
        report: Section `report` of params.yaml.
        rows: The selected models in their order; for a model without results the reason instead.
        champion: The best model by `report.rank_by`; None if no model has a value.
    """
    results: list[GateResult] = []
    for gate in report.gates:
        if gate.model == ALL:
            names = [
                name
                for name, row in rows.items()
                if isinstance(row, str)
                or row.summary.get(gate.metric, {}).get("reason") != "not_supported"
            ]
            absent = "no selected model can have this value"  # then the gate is broken
        elif gate.model == CHAMPION:
            names, absent = [champion] if champion else [], "no model has a rank"
        else:
            names, absent = [gate.model], "not selected"
        for name in names:
            label = f"champion: {name}" if gate.model == CHAMPION else name
            results += _check_gate(gate, label, rows.get(name, absent))
        if not names:
            results += _check_gate(gate, gate.model, absent)
    return results


def _check_gate(gate: Gate, label: str, row: Row | str) -> Iterator[GateResult]:
    values, reason = ([], row) if isinstance(row, str) else _values(gate.metric, row)
    for sign, holds, threshold, worst in (
        ("≥", operator.ge, gate.min, min),
        ("≤", operator.le, gate.max, max),
    ):
        if threshold is not None:
            one = fmean if gate.of == "mean" else worst
            value = one(values) if values else None
            passed = value is not None and holds(value, threshold)
            relation = f"{sign} {threshold:g}"
            yield GateResult(label, gate.metric, gate.of, value, relation, passed, reason)


def _values(metric: str, row: Row) -> tuple[list[float], str]:
    """One value per training seed; none and the reason if a seed has no value."""
    records = [
        next((record for record in seed if record["name"] == metric), None)
        for seed in row.records.values()
    ]
    values = [r["value"] for r in records if r is not None and r["value"] is not None]
    if values and len(values) == len(records):
        return values, ""
    missing = next((r["reason"] for r in records if r is not None and r["value"] is None), None)
    reason = in_words(missing or "not_measured")
    return [], f"{len(values)} of {len(records)} seeds: {reason}" if values else reason
