"""Escapes names and texts of the user for other formats, one function per format.

Jinja escapes HTML; `evaluation.figures.names` escapes text in plots.
"""

import re
import shlex

#: Characters with a meaning in Markdown; an underscore has one only at the edge of a word.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![^\W_])_|_(?![^\W_])")
_MAX_MLFLOW_KEY = 250


def markdown(text: object) -> str:
    """Text that Markdown shows unchanged, in a paragraph or in a table cell."""
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def markdown_code(text: object) -> str:
    """Text as inline code, in a paragraph or in a table cell."""
    line = _one_line(text) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    # Markdown removes one space at each end if both ends have one and not all are spaces.
    at_edge = line.startswith(("`", " ")) or line.endswith(("`", " "))
    space = " " if at_edge and line.strip(" ") else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", r"\|")


def _one_line(text: object) -> str:
    return " ".join(str(text).splitlines())


def shell(*words: object) -> str:
    """A command that a shell reads as these words."""
    return shlex.join(str(word) for word in words)


def mlflow_key(name: str) -> str:
    """The name of a metric or param that MLflow accepts: a relative path of plain characters."""
    parts = re.sub(r"[^\w/.\- :]", "_", name).split("/")
    return "/".join("_" if part in {"", ".", ".."} else part for part in parts)[:_MAX_MLFLOW_KEY]


def mlflow_text(value: str) -> str:
    """A value in quotes for an MLflow filter; one with both kinds of quotes matches no name."""
    return '"' + value.replace('"', "") + '"' if "'" in value else f"'{value}'"
