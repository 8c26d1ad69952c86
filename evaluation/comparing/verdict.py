"""The verdict in sentences: the best model, its lead, and whether the lead is significant."""

from evaluation.comparing import significance
from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.significance import Sample
from evaluation.comparing.tables import REFERENCE_NAMES
from evaluation.comparing.value_text import decimals, mean_and_sd, number

#: A z score: one set of new images in a thousand is this far below 0 by chance.
COPY_BELOW = -3.0


def verdict(board: Leaderboard, key: str) -> list[str]:
    """The best model and its lead over the second; whether the lead is significant; warnings.

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
    shown = mean_and_sd(best.mean, best.std, places)
    start = f"{ranked[0].name} has the {extreme} {key}: {shown} ({seeds})"
    if len(ranked) == 1:
        return [f"{start}.", "No other model has a value to compare it with."]
    second = board.cell(ranked[1], column)
    assert best.mean is not None  # ranked holds rows with a value only
    assert second.mean is not None
    gap = abs(best.mean - second.mean)
    share = f" ({gap / abs(second.mean) * 100:.0f} %)" if second.mean else ""
    sentences = [
        f"{start}; {ranked[1].name} is second with {mean_and_sd(second.mean, second.std, places)}, "
        f"a difference of {number(gap, places)}{share}.",
        _significance(board, column, ranked[0], ranked[1]),
        _floor(board, column),
        _doubt(board, column),
    ]
    return [sentence for sentence in sentences if sentence]


def _doubt(board: Leaderboard, column: Column) -> str:
    if not board.broken(column):
        return ""
    return f"But {column.key} ranks the reference rows in the wrong order here."


def _floor(board: Leaderboard, column: Column) -> str:
    for row in board.references:
        mean = board.cell(row, column).mean
        if row.name == FLOOR and mean is not None:
            places = decimals(board.cell(model, column).mean for model in board.models)
            return f"Held-out real images score {number(mean, places)}."
    return ""


def _significance(board: Leaderboard, column: Column, first: Row, second: Row) -> str:
    """What the one rule says of the best two, and how many seeds would detect a difference."""
    difference = board.difference(column, first, second)
    sentence = difference.sentence(first.name, second.name)
    one, other = board.values(first, column), board.values(second, column)
    if difference.is_testable:
        sentence += f"; a permutation test gives p = {significance.permutation(one, other):.2g}"
    if difference.is_significant or difference.seeds < 2:
        return f"{sentence}."
    needed = significance.seeds_needed(Sample.of(one), Sample.of(other), difference.num_pairs)
    if needed is None:
        return f"{sentence}; {significance.MOST_SEEDS:,} seeds would not detect it."
    return f"{sentence}; about {needed} seeds per model would detect a difference of this size."


def copies(board: Leaderboard) -> str:
    """The rows that copy training images: C_T below -3 in pixels and in features.

    One space alone proves nothing: in pixels a blurred image is as close to everything as a copy.
    Empty where C_T was not measured in both spaces.
    """
    columns = _nearness_columns(board)
    if {column.metric == "ct_pixel" for column in columns} != {True, False}:
        return ""
    models = [row.name for row in board.models if is_copy(board, row)]
    references = [REFERENCE_NAMES[row.name] for row in board.references if is_copy(board, row)]
    return (
        f"Copies of training images (C_T < {number(COPY_BELOW, 0)} in pixels and features): "
        f"{', '.join(models) or 'no model'}. Reference rows flagged as copies: "
        f"{', '.join(references) or 'none'}."
    )


def _nearness_columns(board: Leaderboard) -> list[Column]:
    return [column for column in board.columns if column.metric.startswith("ct_")]


def nearness(board: Leaderboard, row: Row) -> list[tuple[Column, float]]:
    """C_T of a row in each space in which it has one."""
    means = [(column, board.cell(row, column).mean) for column in _nearness_columns(board)]
    return [(column, mean) for column, mean in means if mean is not None]


def is_copy(board: Leaderboard, row: Row) -> bool:
    """Whether C_T is below -3 in pixels and in every feature space."""
    columns = _nearness_columns(board)
    values = [value for _, value in nearness(board, row)]
    in_both = {column.metric == "ct_pixel" for column in columns} == {True, False}
    return in_both and len(values) == len(columns) and max(values) < COPY_BELOW
