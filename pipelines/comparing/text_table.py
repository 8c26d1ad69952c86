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

    Columns at the positions `right`, such as numbers, are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for cells in (header, ["-" * width for width in widths], *rows):
        padded = [
            f"{cell:{'>' if index in right else '<'}{width}}"
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(GAP.join(padded).rstrip())
    return lines


def settings_table(names: Sequence[str], settings: Sequence[Setting], width: int) -> str:
    """The settings that differ, at least one, under a title; `names` are above the values."""
    rows = [[key, *(cut(value, LONGEST_VALUE) for value in values)] for key, values in settings]
    lines = [cut(line, width) for line in text_table(["setting", *names], rows)]
    return "\n".join(["Settings that differ:", "", *lines])


def cut(text: str, width: int) -> str:
    """The text, shortened with an ellipsis if it is longer than `width`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
