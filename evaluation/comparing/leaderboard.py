"""Models side by side: the leaderboard and the best of each column.

This module knows no metric by name. A column's unit, direction and ideal come from its records;
`higher_is_better` None marks a diagnostic, which has no best model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from evaluation.comparing import reference_rows, significance
from evaluation.comparing.groups import groups
from evaluation.comparing.significance import Difference, Sample

RecordDict = Mapping[str, Any]

#: Records of one column have to agree on these keys; otherwise their values are not comparable.
SAME = ("unit", "higher_is_better", "ideal", "n_real", "n_fake", "reference", "extractor")


@dataclass(frozen=True)
class Row:
    """One row of the comparison: a model, or a reference such as held-out real images.

    Attributes:
        name: Unique name.
        kind: Variant, or `reference`.
        family: `vae`, `gan`, or `reference`.
        cost: Counts such as `num_parameters`; empty for a reference.
        summary: For each metric `{"mean", "std", "n"}` and, where the mean is null, `reason`.
        records: For each seed its records.
    """

    name: str
    kind: str
    family: str
    cost: Mapping[str, int]
    summary: Mapping[str, Mapping[str, Any]]
    records: Mapping[str, Sequence[RecordDict]]


@dataclass(frozen=True)
class Column:
    """One column: a metric under one protocol, so that its values are comparable.

    Attributes:
        key: Unique name: the metric's, with the likelihood behind it where models differ.
        metric: Name of the metric.
        observation: The only likelihood of the column (`protocols.LIKELIHOODS`); None for any.
        protocol: The record of the first value; the others agree with it on `SAME`.
    """

    key: str
    metric: str
    observation: str | None
    protocol: RecordDict

    @property
    def higher_is_better(self) -> bool | None:
        """True, False, or None for a diagnostic."""
        return self.protocol["higher_is_better"]

    @property
    def arrow(self) -> str:
        """The direction as a sign: up, down, or the ideal value; empty for a diagnostic."""
        if self.higher_is_better is not None:
            return "↑" if self.higher_is_better else "↓"
        ideal = self.protocol["ideal"]
        return "" if ideal is None else f"→ {ideal:g}"


@dataclass(frozen=True)
class Cell:
    """Mean over the seeds, standard deviation (ddof=1, None below two values), count, or reason."""

    mean: float | None
    std: float | None
    n: int
    reason: str | None


@dataclass(frozen=True)
class Leaderboard:
    """Rows and columns of the comparison; models in the user's order, references separate."""

    models: Sequence[Row]
    references: Sequence[Row]
    columns: Sequence[Column]

    def column(self, key: str) -> Column:
        """The column of that name.

        Raises:
            ValueError: There is no such column; the error lists the columns.
        """
        for column in self.columns:
            if column.key == key:
                return column
        known = ", ".join(c.key for c in self.columns if c.higher_is_better is not None)
        raise ValueError(f"{key!r} is not a measured metric with a direction; there are: {known}")

    def cell(self, row: Row, column: Column) -> Cell:
        """The value of a row in a column."""
        value = row.summary.get(column.metric)
        if value is None:
            return Cell(None, None, 0, "not_measured")
        other = _observation(row, column.metric)
        if column.observation is not None and other not in {None, column.observation}:
            return Cell(None, None, 0, "other_likelihood")
        reason = value.get("reason") if value["mean"] is None else None
        return Cell(value["mean"], value["std"], value["n"], reason)

    def values(self, row: Row, column: Column) -> list[float]:
        """One value per seed; failed seeds are left out."""
        if self.cell(row, column).mean is None:
            return []
        of_seeds = (_find(records, column.metric) for records in row.records.values())
        return [r["value"] for r in of_seeds if r is not None and r["value"] is not None]

    def pairs_of_seeds(self, row: Row, x: Column, y: Column) -> list[tuple[float, float]]:
        """(x, y) of each seed that has both values."""
        if self.cell(row, x).mean is None or self.cell(row, y).mean is None:
            return []
        pairs = []
        for records in row.records.values():
            a, b = (_find(records, column.metric) for column in (x, y))
            if a and b and a["value"] is not None and b["value"] is not None:
                pairs.append((a["value"], b["value"]))
        return pairs

    def pairs(self, column: Column) -> dict[tuple[str, str], Difference]:
        """Every two models with values of at least two seeds (`significance.all_pairs`)."""
        values = {row.name: self.values(row, column) for row in self.models}
        return significance.all_pairs(values, column.higher_is_better)

    def difference(self, column: Column, model: Row, baseline: Row) -> Difference:
        """How a model differs from a baseline; both have a value.

        Holm's correction runs over all pairs of the board.
        """
        pairs = self.pairs(column)
        if (model.name, baseline.name) in pairs:
            return pairs[model.name, baseline.name]
        if (baseline.name, model.name) in pairs:
            return pairs[baseline.name, model.name].reversed()
        pair = Sample.of(self.values(model, column)), Sample.of(self.values(baseline, column))
        return significance.differences([pair], column.higher_is_better)[0]

    def groups(self, column: Column) -> dict[str, str]:
        """Letters of the models: those that share one are not distinguishable.

        Empty if no pair is testable.
        """
        pairs = self.pairs(column)
        if not any(difference.is_testable for difference in pairs.values()):
            return {}
        compared = {name for names in pairs for name in names}
        ranked = [row.name for row in self.ranked(column.key) if row.name in compared]
        distinct = [names for names, difference in pairs.items() if difference.is_significant]
        return groups(ranked, distinct)

    def broken(self, column: Column) -> list[tuple[str, str]]:
        """The reference rows that this column puts in the wrong order: (better, worse)."""
        if column.higher_is_better is None:
            return []
        values = {row.name: self.cell(row, column).mean for row in self.references}
        return reference_rows.broken_pairs(
            values, column.higher_is_better, column.protocol["order"]
        )

    def rank_stability(self, column: Column) -> float | None:
        """The lowest rank correlation (Spearman) of the models' means with a replica's means.

        None if the values have no replicas or fewer than three models have a value.
        """
        own: list[float] = []
        others: list[list[float]] = []
        for row in self.models:
            of_seeds = [_find(records, column.metric) for records in row.records.values()]
            valued = [r for r in of_seeds if r is not None and r["value"] is not None]
            replicas = [r["params"].get("replicas") or [] for r in valued]
            if not valued or not all(replicas) or any(None in values for values in replicas):
                continue
            # Replicas measure the first set of samples only.
            sets = (r["params"].get("sample_sets", [r["value"]]) for r in valued)
            own.append(fmean(values[0] for values in sets))
            others.append([fmean(values) for values in zip(*replicas, strict=True)])
        if len(own) < 3:
            return None
        ranks = pd.DataFrame([[a, *b] for a, b in zip(own, others, strict=True)]).rank()
        return float(ranks.corr().iloc[0, 1:].min())

    def frame(self) -> pd.DataFrame:
        """The table: one line per row, models first, in full precision.

        For each column `_mean`, `_std`, `_low` and `_high` (Student's 95 % interval over the
        training seeds) and `_n`.
        """
        rows: list[dict[str, Any]] = []
        for row in (*self.models, *self.references):
            line: dict[str, Any] = {"model": row.name, "kind": row.kind, "family": row.family}
            for column in self.columns:
                cell = self.cell(row, column)
                low, high = significance.interval(self.values(row, column)) or (None, None)
                line |= {f"{column.key}_mean": cell.mean, f"{column.key}_std": cell.std}
                line |= {f"{column.key}_low": low, f"{column.key}_high": high}
                line[f"{column.key}_n"] = cell.n
            rows.append(line | dict(row.cost))
        frame = pd.DataFrame(rows).set_index("model")
        # A reference has no cost; without this type the gap would turn the counts into floats.
        costs = dict.fromkeys(key for row in self.models for key in row.cost)
        return frame.astype(dict.fromkeys(costs, "Int64"))

    def ranked(self, key: str, family: str | None = None) -> list[Row]:
        """The models from best to worst mean; those without a value are last.

        Raises:
            ValueError: No such column, or it has no direction.
        """
        column = self.column(key)
        if column.higher_is_better is None:
            raise ValueError(f"{key!r} is a diagnostic: it has no direction to rank by")
        rows = {row.name: row for row in self.models if family in {None, row.family}}
        means = pd.Series({n: self.cell(row, column).mean for n, row in rows.items()}, dtype=float)
        ascending = not column.higher_is_better
        order = means.sort_values(ascending=ascending, na_position="last", kind="stable")
        return [rows[str(name)] for name in order.index]

    def champion(self, key: str) -> str | None:
        """The first model of `ranked`; None if no model has a value or there is no such column."""
        if key not in {column.key for column in self.columns}:
            return None
        first = self.ranked(key)[0]
        return None if self.cell(first, self.column(key)).mean is None else first.name

    def best(self, column: Column) -> set[str]:
        """The models with the best mean (several when they tie).

        Empty if more than half of them tie, for a diagnostic, and if the column misorders the
        reference rows: such a column does not show which model is better.
        """
        means = {row.name: self.cell(row, column).mean for row in self.models}
        valued = [mean for mean in means.values() if mean is not None]
        if column.higher_is_better is None or not valued or self.broken(column):
            return set()
        top = max(valued) if column.higher_is_better else min(valued)
        winners = {name for name, mean in means.items() if mean == top}
        return winners if len(valued) == 1 or len(winners) <= len(valued) / 2 else set()

    def families(self, column: Column) -> set[str]:
        """The families of the models that have a value in this column."""
        return {row.family for row in self.models if self.cell(row, column).mean is not None}


def leaderboard(models: Sequence[Row], references: Sequence[Row]) -> Leaderboard:
    """Joins the rows.

    Raises:
        ValueError: Two values of one column are not comparable (other sample count, reference
            images, extractor, ...); the metric, the two rows and the difference are named.
    """
    columns: list[Column] = []
    names = dict.fromkeys(name for row in models for name in row.summary)
    for name in names:
        observations = dict.fromkeys(
            seen for row in models if (seen := _observation(row, name)) is not None
        )
        if len(observations) < 2:
            columns.append(Column(name, name, None, _protocol(name, [*models, *references])))
            continue
        for seen in observations:
            rows = [row for row in models if _observation(row, name) == seen]
            columns.append(
                Column(f"{name}_{seen}", name, seen, _protocol(name, [*rows, *references]))
            )
    return Leaderboard(models, references, columns)


def _find(records: Sequence[RecordDict], metric: str) -> RecordDict | None:
    return next((record for record in records if record["name"] == metric), None)


def _observation(row: Row, metric: str) -> str | None:
    """The likelihood of the values; those of different likelihoods are not comparable."""
    for records in row.records.values():
        record = _find(records, metric)
        if record is not None and record["value"] is not None:
            return record["params"].get("observation")
    return None


def _protocol(metric: str, rows: Sequence[Row]) -> RecordDict:
    """The record that represents a column: all of its values have the same protocol."""
    records_of = [
        (row.name, record)
        for row in rows
        for records in row.records.values()
        if (record := _find(records, metric)) is not None
    ]
    valued = [(name, record) for name, record in records_of if record["value"] is not None]
    if not records_of:
        raise ValueError(f"{metric}: the summary has it, but there is no record of it")
    first_name, first = (valued or records_of)[0]
    for name, record in valued[1:]:
        for key in SAME:
            if record[key] != first[key]:
                raise ValueError(
                    f"{metric}: {first_name} and {name} are not comparable: "
                    f"{key} is {first[key]} and {record[key]}"
                )
    return first
