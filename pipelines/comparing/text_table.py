"""Tables for a terminal: columns of text, no wider than they are allowed to be."""

import shutil
import sys
from collections.abc import Sequence

#: Of output that goes into a file or through a pipe.
PIPED = 100
GAP = "  "


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
        right: The columns that stand to the right, such as numbers.
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


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def width_of(lines: Sequence[str]) -> int:
    """The columns of the longest line."""
    return max(map(len, lines), default=0)
