"""Tables for a terminal: columns of text within a width."""

import shutil
import sys
from collections.abc import Sequence

from pipelines.reporting.differing import Setting

#: Width of output that goes into a file or through a pipe.
PIPED = 100
GAP = "  "
#: Width of a setting's value; a schedule, for example, can have any length.
LONGEST_VALUE = 36


def allowed_width() -> int:
    """The terminal's columns, or 100 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> list[str]:
    """The lines of a table: its header, a rule, then its rows.

    Args:
        header: A title for each column.
        rows: For each row a text for each column.
        right: Positions of the columns that are aligned to the right, such as numbers.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return GAP.join(padded).rstrip()

    return [line(row) for row in (header, rule, *rows)]


def settings_table(names: Sequence[str], settings: Sequence[Setting], width: int) -> str:
    """The settings that differ, under a title.

    Args:
        names: The names above the values.
        settings: At least one.
        width: Maximum number of columns.
    """
    rows = [[s.key, *(cut(value, LONGEST_VALUE) for value in s.values)] for s in settings]
    lines = [cut(line, width) for line in text_table(["setting", *names], rows)]
    return "\n".join(["Settings that differ:", "", *lines])


def cut(text: str, width: int) -> str:
    """The text, shortened with an ellipsis if it is longer than `width`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
