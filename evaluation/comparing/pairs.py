"""Models held against one of them, metric by metric, with a verdict for each.

A metric whose values are not comparable is left out with the reason, and the others stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.comparing import significance
from evaluation.comparing.leaderboard import Cell, Column, Leaderboard, Row, leaderboard
from evaluation.comparing.significance import Pair
from evaluation.comparing.tables import in_words

BETTER, WORSE = "better", "worse"
NOT_APART, NOT_TESTABLE, NO_DIRECTION = "not told apart", "not testable", "no direction"


@dataclass(frozen=True)
class Side:
    """One model under one metric: its cell, and Student's 95 % interval over the seeds."""

    cell: Cell
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Line:
    """One metric of two models.

    Attributes:
        metric: Its name.
        arrow: Its direction as a sign.
        first: The model that the other is held against.
        other: The other.
        difference: Mean of the other minus mean of the first.
        improves: Whether the other's mean is better; None without a direction or if equal.
        verdict: On the other: `better`, `worse`, `not told apart`, `not testable` (too few seeds)
            or `no direction`.
        p: Welch's, Holm-adjusted over all pairs compared; None where nothing was tested.
    """

    metric: str
    arrow: str
    first: Side
    other: Side
    difference: float
    improves: bool | None
    verdict: str
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """Several models under the metrics that they share.

    Attributes:
        rows: The models, in the order given; the others are held against the first.
        boards: For each metric that all of them have the comparison under it alone.
        lacking: Of the other metrics those that only some have: who has none, and why.
        refused: Those whose values are not comparable, and why.
    """

    rows: Sequence[Row]
    boards: dict[str, tuple[Leaderboard, Column]]
    lacking: dict[str, str]
    refused: dict[str, str]

    def lines(self, other: Row) -> list[Line]:
        """One line a metric: `other` held against the first model."""
        return [self._line(metric, other) for metric in self.boards]

    def _line(self, metric: str, other: Row) -> Line:
        board, column = self.boards[metric]
        sides = [_side(board, row, column) for row in (self.rows[0], other)]
        means = [side.cell.mean for side in sides]
        assert means[0] is not None  # see compare
        assert means[1] is not None
        difference = means[1] - means[0]
        improves = None
        if column.higher_is_better is not None and difference:
            improves = (difference > 0) == column.higher_is_better
        pair = self._pair(metric, other)[0]
        return Line(
            metric,
            column.arrow,
            sides[0],
            sides[1],
            difference,
            improves,
            _verdict(column, pair, improves),
            pair.adjusted if pair is not None and pair.testable else None,
        )

    def seeds_needed(self, metric: str, other: Row) -> int | None:
        """Training seeds a side that would tell `other` from the first model.

        None where they are told apart, a side has one seed, or more than 1,000 would be needed.
        """
        board, column = self.boards[metric]
        pair, count = self._pair(metric, other)
        if pair is None or pair.apart:
            return None
        one, two = (board.values(row, column) for row in (self.rows[0], other))
        return significance.seeds_needed(one, two, count)

    def _pair(self, metric: str, other: Row) -> tuple[Pair | None, int]:
        """The test of `other` against the first model, and how many pairs are tested."""
        board, column = self.boards[metric]
        pairs = board.pairs(column)
        names = {self.rows[0].name, other.name}
        return next((pair for pair in pairs if set(pair.models) == names), None), len(pairs)


def compare(rows: Sequence[Row], metrics: Sequence[str] = ()) -> Comparison:
    """Joins models metric by metric.

    Args:
        rows: At least two, each with a name of its own.
        metrics: Those to compare, in this order; none for all.
    """
    known = dict.fromkeys(name for row in rows for name in row.summary)
    found = Comparison(rows, {}, {}, {})
    for metric in metrics or known:
        lacking = [row for row in rows if row.summary.get(metric, {}).get("mean") is None]
        if lacking:
            found.lacking[metric] = "; ".join(
                f"{row.name}: {in_words(row.summary.get(metric, {}).get('reason', 'not_measured'))}"
                for row in lacking
            )
            continue
        alone = [replace(row, summary={metric: row.summary[metric]}) for row in rows]
        try:
            board = leaderboard(alone, [])
        except ValueError as error:
            found.refused[metric] = str(error).removeprefix(f"{metric}: ")
            continue
        if len(board.columns) > 1:
            names = ", ".join(str(column.observation) for column in board.columns)
            found.refused[metric] = f"likelihoods of different things: {names}"
            continue
        found.boards[metric] = (board, board.columns[0])
    return found


def _side(board: Leaderboard, row: Row, column: Column) -> Side:
    return Side(board.cell(row, column), significance.interval(board.values(row, column)))


def _verdict(column: Column, pair: Pair | None, improves: bool | None) -> str:
    if column.higher_is_better is None:
        return NO_DIRECTION
    if pair is None or not pair.testable:
        return NOT_TESTABLE
    if not pair.apart:
        return NOT_APART
    return BETTER if improves else WORSE
