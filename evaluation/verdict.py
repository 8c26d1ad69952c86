"""The verdict: which model is best, by how much, and whether the seeds let one believe it."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, stdev

from evaluation.comparison import Column, Leaderboard, Row, decimals, mean_and_sd, number


def verdict(board: Leaderboard, key: str) -> str:
    """Which model is best, by how much, and whether to believe it.

    Args:
        board: The comparison.
        key: The column to rank by.

    Returns:
        One to three sentences of plain text.

    Raises:
        ValueError: No such column, or it has no direction.
    """
    column = board.column(key)
    ranked = [row for row in board.ranked(key) if board.cell(row, column).mean is not None]
    if not ranked:
        return f"No model has a value of {key}."
    places = decimals(board.cell(row, column).mean for row in board.models)
    best = board.cell(ranked[0], column)
    extreme = "highest" if column.higher_is_better else "lowest"
    seeds = f"{best.n} seed{'s' if best.n != 1 else ''}"
    start = f"{ranked[0].name} has the {extreme} {key}: {mean_and_sd(best, places)} ({seeds})"
    if len(ranked) == 1:
        return f"{start}. No other model has a value to compare it with."
    second = board.cell(ranked[1], column)
    assert best.mean is not None  # ranked holds rows with a value only
    assert second.mean is not None
    gap = abs(best.mean - second.mean)
    share = f" ({gap / abs(second.mean) * 100:.0f} %)" if second.mean else ""
    return (
        f"{start}, {number(gap, places)}{share} better than {ranked[1].name} at "
        f"{mean_and_sd(second, places)}. {_belief(board, column, ranked)}{_floor(board, column)}"
    )


def _floor(board: Leaderboard, column: Column) -> str:
    for row in board.references:
        mean = board.cell(row, column).mean
        if mean is not None:
            places = decimals(board.cell(model, column).mean for model in board.models)
            return f" Held-out real images score {number(mean, places)}."
    return ""


def _belief(board: Leaderboard, column: Column, ranked: Sequence[Row]) -> str:
    first, second = (board.values(row, column) for row in ranked[:2])
    apart = min(first) > max(second) or max(first) < min(second)
    ranges = f"The ranges over the seeds {'do not overlap' if apart else 'overlap'}"
    fewest = min(len(first), len(second))
    # The exact permutation test is the yardstick: its smallest p, whatever the data.
    smallest_p = 2 / math.comb(len(first) + len(second), len(first))
    if smallest_p > 0.05:
        plural = "s" if fewest != 1 else ""
        return f"{ranges}; a difference is not testable with {fewest} seed{plural}."
    p, pairs = _adjusted_p(board, column, ranked)
    test = f"Welch's t test, Holm-adjusted over {pairs} pair{'s' if pairs != 1 else ''}"
    return f"{ranges}; {test}: p = {p:.2g}."


def _adjusted_p(board: Leaderboard, column: Column, ranked: Sequence[Row]) -> tuple[float, int]:
    """The p of the first pair among all pairs, since the best pair was picked from this table."""
    from scipy import stats  # noqa: PLC0415  (a second of start-up that few reports need)

    testable = [row for row in ranked if len(board.values(row, column)) >= 2]
    found: list[tuple[float, bool]] = []
    for a, b in combinations(testable, 2):
        one, two = board.values(a, column), board.values(b, column)
        if stdev(one) or stdev(two):
            # From the moments: from the values, scipy warns about every nearly constant sample.
            p = stats.ttest_ind_from_stats(*_moments(one), *_moments(two), equal_var=False).pvalue
        else:  # no spread at all: equal or different beyond doubt
            p = float(one[0] == two[0])
        found.append((float(p), (a, b) == (ranked[0], ranked[1])))
    adjusted = 0.0
    for rank, (p, wanted) in enumerate(sorted(found, key=lambda pair: pair[0])):
        adjusted = max(adjusted, min(1.0, p * (len(found) - rank)))
        if wanted:
            break
    return adjusted, len(found)


def _moments(values: Sequence[float]) -> tuple[float, float, int]:
    return fmean(values), stdev(values), len(values)
