"""The verdict: which model is best, by how much, and whether the seeds let one believe it."""

from collections.abc import Sequence

from evaluation.comparing import significance
from evaluation.comparing.leaderboard import Column, Leaderboard, Row, decimals, mean_and_sd, number
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.tables import REFERENCE_NAMES

#: A z score: so far below 0 by chance is one set of new images in a thousand.
COPY_BELOW = -3.0


def verdict(board: Leaderboard, key: str) -> list[str]:
    """Which model is best and by how much; then whether to believe it.

    Args:
        board: The comparison.
        key: The column to rank by.

    Returns:
        One to four sentences of plain text.

    Raises:
        ValueError: No such column, or it has no direction.
    """
    column = board.column(key)
    ranked = [row for row in board.ranked(key) if board.cell(row, column).mean is not None]
    if not ranked:
        return [f"No model has a value of {key}."]
    places = decimals(board.cell(row, column).mean for row in board.models)
    best = board.cell(ranked[0], column)
    extreme = "highest" if column.higher_is_better else "lowest"
    seeds = f"{best.n} seed{'s' if best.n != 1 else ''}"
    start = f"{ranked[0].name} has the {extreme} {key}: {mean_and_sd(best, places)} ({seeds})"
    if len(ranked) == 1:
        return [f"{start}.", "No other model has a value to compare it with."]
    second = board.cell(ranked[1], column)
    assert best.mean is not None  # ranked holds rows with a value only
    assert second.mean is not None
    gap = abs(best.mean - second.mean)
    share = f" ({gap / abs(second.mean) * 100:.0f} %)" if second.mean else ""
    found = [
        f"{start}, {number(gap, places)}{share} better than {ranked[1].name} at "
        f"{mean_and_sd(second, places)}.",
        _belief(board, column, ranked),
        _floor(board, column),
        _doubt(board, column),
    ]
    return [sentence for sentence in found if sentence]


def _doubt(board: Leaderboard, column: Column) -> str:
    if not board.broken(column):
        return ""
    return f"But {column.key} puts image sets of known quality in the wrong order here."


def _floor(board: Leaderboard, column: Column) -> str:
    for row in board.references:
        mean = board.cell(row, column).mean
        if row.name == FLOOR and mean is not None:
            places = decimals(board.cell(model, column).mean for model in board.models)
            return f"Held-out real images score {number(mean, places)}."
    return ""


def _belief(board: Leaderboard, column: Column, ranked: Sequence[Row]) -> str:
    first, second = (board.values(row, column) for row in ranked[:2])
    apart = min(first) > max(second) or max(first) < min(second)
    ranges = f"The ranges over the seeds {'do not overlap' if apart else 'overlap'}"
    pairs = board.pairs(column)
    testable = sum(pair.testable for pair in pairs)
    pair = next((p for p in pairs if set(p.models) == {row.name for row in ranked[:2]}), None)
    if pair is None or not pair.testable:
        fewest = min(len(first), len(second))
        plural = "s" if fewest != 1 else ""
        among = f" among {len(pairs)} pairs" if len(pairs) > 1 else ""
        start = f"{ranges}; a difference is not testable with {fewest} seed{plural}{among}"
        return f"{start}{_needed(first, second, len(pairs))}."
    plural = "s" if testable != 1 else ""
    test = f"Welch's t test, Holm-adjusted over {testable} pair{plural}"
    check = f"unadjusted {pair.p:.2g}, by permutation {significance.permutation(first, second):.2g}"
    found = f"{ranges}; {test}: p = {pair.adjusted:.2g} ({check})"
    return f"{found}{'' if pair.apart else _needed(first, second, len(pairs))}."


def _needed(first: Sequence[float], second: Sequence[float], comparisons: int) -> str:
    """How many seeds would tell the two apart, as far as these few can say."""
    if min(len(first), len(second)) < 2:
        return ""
    needed = significance.seeds_needed(first, second, comparisons)
    if needed is None:
        return f", and with up to {significance.MOST_SEEDS:,} it would not be found"
    return f"; with about {needed} each one of this size would be found"


def copies(board: Leaderboard) -> str:
    """Which rows are made of training images: C_T below -3 in pixels and in features, in words.

    In one space alone it proves nothing: in pixels a blur lies as close to everything as copies do.
    Empty where C_T was not measured in both.
    """
    columns = _nearness_columns(board)
    if {column.metric == "ct_pixel" for column in columns} != {True, False}:
        return ""
    models = [row.name for row in board.models if is_copy(board, row)]
    references = [REFERENCE_NAMES[row.name] for row in board.references if is_copy(board, row)]
    found = f"of the reference rows {', '.join(references) or 'none'}"
    return (
        f"Made of training images, by C_T below {number(COPY_BELOW, 0)} in pixels and in features: "
        f"{', '.join(models) or 'no model'}; {found}."
    )


def _nearness_columns(board: Leaderboard) -> list[Column]:
    return [column for column in board.columns if column.metric.startswith("ct_")]


def nearness(board: Leaderboard, row: Row) -> list[tuple[Column, float]]:
    """C_T of a row in each space in which it has one."""
    found = [(column, board.cell(row, column).mean) for column in _nearness_columns(board)]
    return [(column, value) for column, value in found if value is not None]


def is_copy(board: Leaderboard, row: Row) -> bool:
    """Whether C_T is below -3 in pixels and in every feature space."""
    columns = _nearness_columns(board)
    values = [value for _, value in nearness(board, row)]
    in_both = {column.metric == "ct_pixel" for column in columns} == {True, False}
    return in_both and len(values) == len(columns) and max(values) < COPY_BELOW
