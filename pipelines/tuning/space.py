"""From a search space to the settings of one trial. Values are drawn by the caller's `Suggests`."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from pipelines.tuning.settings import Categorical, Fixed, FloatRange, IntRange, Part, Space


class Suggests(Protocol):
    """What draws values: an Optuna trial."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number in [low, high]."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """One of the choices."""


def suggest(trial: Suggests, space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """Draws the settings of a trial, in the order of the space.

    Args:
        trial: Draws each value.
        space: The search space.
        base: The study's model, for conditions on settings that no part sets.

    Returns:
        By dotted key its value; a part whose condition does not hold is absent.
    """
    values: dict[str, Any] = {}
    for key, parts in space.items():
        for index, part in enumerate(parts):
            if is_used(part, _condition_values(values, base, part)):
                values[key] = _draw(trial, name_of(key, index, parts), part)
    return values


def name_of(key: str, index: int, parts: Sequence[Part]) -> str:
    """Name of a part in Optuna: its key and, where the key has several parts, its condition."""
    if len(parts) == 1:
        return key
    when = parts[index].when or {}
    values = ",".join(str(value) for wanted in when.values() for value in wanted)
    return f"{key}@{values or index}"


def _draw(trial: Suggests, name: str, part: Part) -> Any:
    if isinstance(part, FloatRange):
        return trial.suggest_float(name, part.low, part.high, log=part.log)
    if isinstance(part, IntRange):
        return trial.suggest_int(name, part.low, part.high, step=part.step, log=part.log)
    if isinstance(part, Categorical):
        return trial.suggest_categorical(name, part.choices)
    return part.value


def starting_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the space that is nearest to the original settings, by the names of its parts.

    A value outside a range is moved to its end. A value that is no choice is absent.
    """
    values: dict[str, Any] = {}
    point: dict[str, Any] = {}
    for key, parts in space.items():
        for index, part in enumerate(parts):
            if not is_used(part, _condition_values(values, base, part)):
                continue
            value = look_up(base, key)
            if isinstance(part, FloatRange | IntRange):
                value = _into_range(part, value)
            elif isinstance(part, Categorical) and value not in part.choices:
                continue
            elif isinstance(part, Fixed):
                value = part.value
            values[key] = value
            if not isinstance(part, Fixed):
                point[name_of(key, index, parts)] = value
    return point


def original_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The original settings, inside the space or not, by the names of the parts."""
    return {
        name_of(key, index, parts): look_up(base, key)
        for key, parts in space.items()
        for index, part in enumerate(parts)
        if not isinstance(part, Fixed) and is_used(part, _condition_values({}, base, part))
    }


def _into_range(part: FloatRange | IntRange, value: Any) -> Any:
    if not isinstance(value, int | float):
        return part.low
    value = min(max(value, part.low), part.high)
    if isinstance(part, IntRange):
        return part.low + round((value - part.low) / part.step) * part.step
    return float(value)


def _condition_values(
    values: Mapping[str, Any], base: Mapping[str, Any], part: Part
) -> dict[str, Any]:
    return {key: values[key] if key in values else look_up(base, key) for key in part.when or {}}


def is_used(part: Part, values: Mapping[str, Any]) -> bool:
    """Whether a part's condition holds."""
    return all(values.get(key) in wanted for key, wanted in (part.when or {}).items())


def conditions(space: Space) -> list[str]:
    """The keys of all conditions, in the order of the space."""
    keys = {key for parts in space.values() for part in parts for key in part.when or {}}
    return [key for key in space if key in keys]


def cases(space: Space, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that conditions depend on."""
    keys = conditions(space)
    options = [[value for part in space[key] for value in part.corners] for key in keys]
    seen = set()
    for combination in itertools.product(*options):
        case = dict(zip(keys, combination, strict=True))
        for key in keys:  # without a used part the value is the original one
            if not any(is_used(part, case) and case[key] in part.corners for part in space[key]):
                case[key] = look_up(base, key)
        if repr(case) not in seen:
            seen.add(repr(case))
            yield case


def look_up(entry: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError, IndexError, TypeError, ValueError: There is no such key.
    """
    value: Any = entry
    for word in key.split("."):
        value = value[int(word)] if isinstance(value, list) else value[word]
    return value


def changed(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an entry with other values at dotted keys."""
    result = dict(entry)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        result[first] = _replaced(result[first], rest, value) if rest else value
    return result


def _replaced(content: Any, key: str, value: Any) -> Any:
    if isinstance(content, list):
        index, _, rest = key.partition(".")
        copy = list(content)
        copy[int(index)] = _replaced(copy[int(index)], rest, value) if rest else value
        return copy
    return changed(content, {key: value})
