"""Turns a pydantic ValidationError into one line: the key, the value and what is allowed."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipelines.settings.errors import UserError

S = TypeVar("S", bound=BaseModel)

#: Parts of a pydantic location that are alternatives of a union, such as `list[Stage]`, not keys.
_ALTERNATIVE = re.compile(r"^(constrained|function)-|\]$|^(bool|float|int|str)$")
#: The start of most pydantic messages.
_SHOULD = "Input should be "


def check(section: type[S], values: Any, where: str) -> S:
    """Validates values against a section; `where` is their place, as `params.yaml: models.vae`.

    Raises:
        UserError: The first mistake, as one line.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(_first(error.errors()), section, where)) from None


def _first(errors: Sequence[Any]) -> list[Any]:
    """The errors to report: one, or one for each alternative of a union."""
    # An unknown key comes first: it may be a misspelling of a key that is reported as missing.
    first = _keys(min(errors, key=lambda error: error["type"] != "extra_forbidden"))
    inside = [error for error in errors if _keys(error)[: len(first)] == first]
    # The alternative whose error lies deepest in the value is probably the intended one.
    deepest = _keys(max(inside, key=lambda error: len(_keys(error))))
    return [error for error in inside if _keys(error) == deepest]


def _keys(error: Any) -> list[str]:
    return [part for part in map(str, error["loc"]) if not _ALTERNATIVE.search(part)]


def _one_line(errors: Sequence[Any], section: type[BaseModel], where: str) -> str:
    error, keys = errors[0], _keys(errors[0])
    separator = "." if ":" in where else ": "
    # A top-level key follows the name of the file, a nested key the key of its parent.
    place = where + (separator + ".".join(keys) if keys else "")
    value, fields = show(error["input"]), _fields(section, keys[:-1])
    if error["type"] == "extra_forbidden":
        nearest = suggest(keys[-1], list(fields))
        return f"{place}: unknown key (value {value}){nearest}; allowed: {', '.join(fields)}"
    if error["type"] == "missing":
        if (field := fields.get(keys[-1])) is None:
            return f"{place}: this key is missing; it has no default"
        name = getattr(field.annotation, "__name__", None) or str(field.annotation)
        expected = name.replace("typing.", "")
        return f"{place}: this key is missing; it has no default (expected {expected})"
    if error["type"] == "value_error":  # keys contradict each other; the message names them
        return f"{place}: {error['msg'].removeprefix('Value error, ')}"
    message = " or ".join(
        alternative["msg"] if alternative is error else alternative["msg"].removeprefix(_SHOULD)
        for alternative in errors
    )
    return f"{place}: {value} is not allowed: {message[0].lower()}{message[1:]}"


def _fields(section: type[BaseModel], keys: Sequence[str]) -> Mapping[str, FieldInfo]:
    """The fields of the section that the keys lead to; none if they lead elsewhere."""
    current: type[BaseModel] | None = section
    for key in keys:
        if not key.isdigit():  # an index of a list leads to the section of its items
            field = current.model_fields.get(key) if current else None
            current = _section_in(field.annotation) if field else None
    return current.model_fields if current else {}


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section in a type: the type itself, or the one inside a list or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def suggest(word: str, allowed: Sequence[str]) -> str:
    """`, did you mean '...'?` with the nearest spelling, or an empty text if none is near."""
    nearest = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def show(value: Any) -> str:
    """A value as Python code, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
