"""Names that a user chose, as matplotlib and SVG show them: letter by letter."""

import re

#: Control characters, what XML forbids, and halves of characters from file names that are no UTF-8.
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Text with each character that a page cannot contain replaced by U+FFFD."""
    return _NOT_PRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def literal(name: str) -> str:
    """A name as text for matplotlib.

    Without this, text between two dollar signs is typeset as a formula, and a name that starts with
    an underscore is missing from the legend.
    """
    name = printable(name).replace("$", r"\$")
    # A zero-width space: matplotlib looks at the first character only.
    return "\N{ZERO WIDTH SPACE}" + name if name.startswith("_") else name
