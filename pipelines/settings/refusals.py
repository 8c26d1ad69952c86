"""Turns a pydantic ValidationError into one line: the key, the value and what is allowed."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from pipelines.settings.errors import UserError

T = TypeVar("T")

#: Parts of a pydantic location that are alternatives of a union, such as `list[Stage]`, not keys.
_ALTERNATIVE = re.compile(r"^(constrained|function)-|\]$|^(bool|float|int|str)$")
#: The start of most pydantic messages.
_SHOULD = "Input should be "


def check(validate: Callable[[], T], section: type[BaseModel], where: str) -> T:
    """Runs a pydantic validation and turns its first error into one line.

    Args:
        validate: The validation, a function without arguments.
        section: The class whose fields are the allowed keys.
        where: The start of the key path, such as `params.yaml: models.vae`.

    Raises:
        UserError: The validation failed.
    """
    try:
        return validate()
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
    value = show(error["input"])
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(section, keys[:-1])
        nearest = suggest(keys[-1], allowed)
        return f"{place}: unknown key (value {value}){nearest}; allowed: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{place}: this key is missing; {_describe(section, keys)}"
    if error["type"] == "value_error":  # keys contradict each other; the message names them
        return f"{place}: {error['msg'].removeprefix('Value error, ')}"
    message = " or ".join(
        alternative["msg"] if alternative is error else alternative["msg"].removeprefix(_SHOULD)
        for alternative in errors
    )
    return f"{place}: {value} is not allowed: {message[0].lower()}{message[1:]}"


def _describe(section: type[BaseModel], keys: list[str]) -> str:
    parent = _section_at(section, keys[:-1])
    field = parent.model_fields.get(keys[-1]) if parent else None
    if field is None:
        return "it has no default"
    name = getattr(field.annotation, "__name__", None) or str(field.annotation)
    return f"it has no default (expected {name.replace('typing.', '')})"


def _section_at(section: type[BaseModel], keys: list[str]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = section
    for key in keys:
        if not key.isdigit():  # an index of a list leads to the section of its items
            fields = current.model_fields if current else {}
            current = _section_in(fields[key].annotation) if key in fields else None
    return current


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section in a type: the type itself, or the one inside a list or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _fields_at(section: type[BaseModel], keys: list[str]) -> list[str]:
    parent = _section_at(section, keys)
    return list(parent.model_fields) if parent else []


def suggest(word: str, allowed: Sequence[str]) -> str:
    """`, did you mean '...'?` with the nearest spelling, or an empty text if none is near."""
    nearest = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def show(value: Any) -> str:
    """A value as Python code, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
