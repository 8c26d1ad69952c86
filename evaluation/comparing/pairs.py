"""Models compared with the first of them, metric by metric, with a verdict on each.

A metric whose values are not comparable is left out with the reason; the others stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.comparing import significance
from evaluation.comparing.leaderboard import Cell, Column, Leaderboard, Row, leaderboard
from evaluation.comparing.significance import Difference, Sample
from evaluation.comparing.tables import in_words


@dataclass(frozen=True)
class Side:
    """One model under one metric: its cell, and Student's 95 % interval over the seeds."""

    cell: Cell
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """One metric of a baseline and a model.

    Attributes:
        metric: Its name.
        arrow: Its direction as a sign.
        baseline: The first model of the comparison.
        model: The model that is compared with it.
        improves: Whether the model's mean is better; None without a direction or if equal.
        difference: Its verdict; Holm's correction runs over all pairs of the comparison.
    """

    metric: str
    arrow: str
    baseline: Side
    model: Side
    improves: bool | None
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Several models under the metrics that they share.

    Attributes:
        rows: The models in the user's order; the first is the baseline of the others.
        boards: For each metric that all of them have, the leaderboard of this metric alone.
        lacking: For each metric that only some have: which models lack it, and why.
        refused: For each metric whose values are not comparable: why.
    """

    rows: Sequence[Row]
    boards: dict[str, tuple[Leaderboard, Column]]
    lacking: dict[str, str]
    refused: dict[str, str]

    def lines(self, model: Row) -> list[Line]:
        """One line per metric: `model` compared with the first model."""
        return [self._line(metric, model) for metric in self.boards]

    def _line(self, metric: str, model: Row) -> Line:
        board, column = self.boards[metric]
        difference = board.difference(column, model, self.rows[0])
        improves = None
        if column.higher_is_better is not None and difference.value:
            improves = (difference.value > 0) == column.higher_is_better
        baseline, other = (_side(board, row, column) for row in (self.rows[0], model))
        return Line(metric, column.arrow, baseline, other, improves, difference)

    def seeds_needed(self, metric: str, model: Row) -> int | None:
        """Training seeds per model that would detect the difference from the first model.

        None if it is significant, a side has one seed, or more than 1,000 would be needed.
        """
        board, column = self.boards[metric]
        difference = board.difference(column, model, self.rows[0])
        if difference.is_significant or difference.seeds < 2:
            return None
        one, other = (Sample.of(board.values(row, column)) for row in (self.rows[0], model))
        return significance.seeds_needed(one, other, difference.num_pairs)


def compare(rows: Sequence[Row], metrics: Sequence[str] = ()) -> Comparison:
    """Joins models metric by metric.

    Args:
        rows: At least two, with different names.
        metrics: The metrics to compare, in this order; none for all.
    """
    known = dict.fromkeys(name for row in rows for name in row.summary)
    comparison = Comparison(rows, {}, {}, {})
    for metric in metrics or known:
        lacking = [row for row in rows if row.summary.get(metric, {}).get("mean") is None]
        if lacking:
            comparison.lacking[metric] = "; ".join(
                f"{row.name}: {in_words(row.summary.get(metric, {}).get('reason', 'not_measured'))}"
                for row in lacking
            )
            continue
        alone = [replace(row, summary={metric: row.summary[metric]}) for row in rows]
        try:
            board = leaderboard(alone, [])
        except ValueError as error:
            comparison.refused[metric] = str(error).removeprefix(f"{metric}: ")
            continue
        if len(board.columns) > 1:
            names = ", ".join(str(column.observation) for column in board.columns)
            comparison.refused[metric] = f"likelihoods of different things: {names}"
            continue
        comparison.boards[metric] = (board, board.columns[0])
    return comparison


def _side(board: Leaderboard, row: Row, column: Column) -> Side:
    return Side(board.cell(row, column), significance.interval(board.values(row, column)))
