"""Changes params.yaml in place: comments, order and the spelling of untouched numbers stay."""

import difflib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML  # noqa: TID251
from ruamel.yaml.comments import CommentedMap  # noqa: TID251
from ruamel.yaml.error import CommentMark  # noqa: TID251
from ruamel.yaml.tokens import CommentToken  # noqa: TID251

from pipelines import files, params, paths
from pipelines.errors import UserError

_OF_A_TRIAL = re.compile(r"# trial \d+ of study .*\n")


def write_model(
    name: str, model: str, entry: Mapping[str, Any], comment: str, path: Path | None = None
) -> str:
    """Writes settings into an entry of `models:` and selects it.

    Args:
        name: The entry; where there is none it is made, behind `model`.
        model: The entry that a new one is a copy of.
        entry: What is set in it, by key.
        comment: Stands beside a new entry, and beside one that had such a comment.
        path: The file; by default the one of this checkout.

    Returns:
        The difference, in unified form; empty where nothing changes.

    Raises:
        UserError: The result would be refused; the file is as it was.
    """
    path = path or paths.PARAMS
    before = path.read_text(encoding="utf-8")
    yaml = _yaml()
    document = yaml.load(before)
    if not _change(document, name, model, entry, comment):
        return ""
    out = io.StringIO()
    yaml.dump(document, out)
    after = out.getvalue()
    _check(after, path)
    files.write_text(path, after)
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(old, new, f"a/{path.name}", f"b/{path.name}"))


def _change(document: Any, name: str, model: str, entry: Mapping[str, Any], comment: str) -> bool:
    """Changes what differs; returns whether anything does."""
    models, selected = document["models"], document["selected"]
    is_new, is_unselected = name not in models, name not in selected
    if is_new:
        copy = CommentedMap(models[model])
        models.insert(list(models).index(model) + 1, name, copy, comment=comment)
        # A blank line behind it, as behind the others.
        gap = CommentToken("\n\n", CommentMark(0), None)
        copy.ca.items[list(copy)[-1]] = [None, None, gap, None]
    differing = [key for key, value in entry.items() if models[name][key] != value]
    for key in differing:
        models[name][key] = entry[key]
    if differing and not is_new:
        _say_anew(models, name, comment)
    if is_unselected:
        place = list(selected).index(model) + 1 if model in selected else len(selected)
        selected.insert(place, name, models[name]["kind"])
    return is_new or is_unselected or bool(differing)


def _say_anew(models: CommentedMap, name: str, comment: str) -> None:
    """Replaces the comment of an earlier trial; one that somebody wrote stays."""
    token = (models.ca.items.get(name) or [None] * 4)[2]
    if token is not None and _OF_A_TRIAL.match(token.value):
        token.value = _OF_A_TRIAL.sub(lambda _: f"# {comment}\n", token.value, count=1)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # no line is broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None),
        lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null"),
    )
    return yaml


def _check(text: str, path: Path) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        files.write_text(beside, text)
        params.load(beside)
    except UserError as error:
        raise UserError(str(error).replace(beside.name, path.name)) from None
    finally:
        beside.unlink(missing_ok=True)
