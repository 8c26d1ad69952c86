"""Names and texts of a user as text of another format: one function each.

HTML is escaped by Jinja, text in a plot by `evaluation.figures.names`.
"""

import re
import shlex

#: Characters that start something in Markdown; an underscore does so at the edge of a word only.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![^\W_])_|_(?![^\W_])")
_MAX_MLFLOW_KEY = 250


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, in a paragraph or in a cell of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def markdown_code(text: object) -> str:
    """Text as inline code, in a paragraph or in a cell of a table."""
    line = _one_line(text) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    # Markdown removes one space at each end if both ends have one.
    space = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
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
    """A value in quotes for a filter of MLflow, which knows no escape for a quote in it.

    A value with both kinds of quotes loses one kind, and then equals no name in the store.
    """
    if "'" not in value:
        return f"'{value}'"
    return '"' + value.replace('"', "") + '"'
