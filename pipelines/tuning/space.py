"""From a typed search space to the settings of one trial.

Knows nothing of Optuna: what suggests values is handed in.
"""

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
        base: The entry that the study starts from, for what a condition looks at and no part sets.

    Returns:
        By dotted key the value; a part whose condition does not hold is left out.
    """
    values: dict[str, Any] = {}
    for key, parts in space.items():
        for index, part in enumerate(parts):
            if counts(part, _seen(values, base, part)):
                values[key] = _draw(trial, name_of(key, index, parts), part)
    return values


def name_of(key: str, index: int, parts: Sequence[Part]) -> str:
    """What a part is called in the study: its key, and where it has several, its condition."""
    if len(parts) == 1:
        return key
    when = parts[index].when or {}
    told = ",".join(str(value) for wanted in when.values() for value in wanted)
    return f"{key}@{told or index}"


def _draw(trial: Suggests, name: str, part: Part) -> Any:
    if isinstance(part, FloatRange):
        return trial.suggest_float(name, part.low, part.high, log=part.log)
    if isinstance(part, IntRange):
        return trial.suggest_int(name, part.low, part.high, step=part.step, log=part.log)
    if isinstance(part, Categorical):
        return trial.suggest_categorical(name, part.choices)
    return part.value


def starting_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the space that is next to the present settings, by the names of its parts.

    What lies outside a range is moved to its end, and where the present value is no choice, the
    study chooses.
    """
    values: dict[str, Any] = {}
    point: dict[str, Any] = {}
    for key, parts in space.items():
        for index, part in enumerate(parts):
            if not counts(part, _seen(values, base, part)):
                continue
            value = look_up(base, key)
            if isinstance(part, FloatRange | IntRange):
                value = _moved(part, value)
            elif isinstance(part, Categorical) and value not in part.choices:
                continue
            elif isinstance(part, Fixed):
                value = part.value
            values[key] = value
            if not isinstance(part, Fixed):
                point[name_of(key, index, parts)] = value
    return point


def present(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The present settings themselves, inside the space or not, by the names of its parts."""
    return {
        name_of(key, index, parts): look_up(base, key)
        for key, parts in space.items()
        for index, part in enumerate(parts)
        if not isinstance(part, Fixed) and counts(part, _seen({}, base, part))
    }


def holds(space: Space, base: Mapping[str, Any]) -> bool:
    """Whether the present settings are a point of the space, which is then the first trial."""
    fixed = (
        look_up(base, key) == part.value
        for key, parts in space.items()
        for part in parts
        if isinstance(part, Fixed) and counts(part, _seen({}, base, part))
    )
    return all(fixed) and starting_point(space, base) == present(space, base)


def _moved(part: FloatRange | IntRange, value: Any) -> Any:
    if not isinstance(value, int | float):
        return part.low
    value = min(max(value, part.low), part.high)
    if isinstance(part, IntRange):
        return part.low + round((value - part.low) / part.step) * part.step
    return float(value)


def _seen(values: Mapping[str, Any], base: Mapping[str, Any], part: Part) -> dict[str, Any]:
    return {key: values[key] if key in values else look_up(base, key) for key in part.when or {}}


def counts(part: Part, values: Mapping[str, Any]) -> bool:
    """Whether a part's condition holds."""
    return all(values.get(key) in wanted for key, wanted in (part.when or {}).items())


def conditions(space: Space) -> list[str]:
    """The keys that a condition looks at, in the order of the space."""
    looked_at = {key for parts in space.values() for part in parts for key in part.when or {}}
    return [key for key in space if key in looked_at]


def branches(space: Space, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that conditions look at."""
    keys = conditions(space)
    options = [[value for part in space[key] for value in part.corners] for key in keys]
    seen = set()
    for combination in itertools.product(*options):
        chosen = dict(zip(keys, combination, strict=True))
        for key in keys:  # a part that is itself switched off leaves the entry's value
            if not any(counts(part, chosen) and chosen[key] in part.corners for part in space[key]):
                chosen[key] = look_up(base, key)
        if repr(chosen) not in seen:
            seen.add(repr(chosen))
            yield chosen


def look_up(entry: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError, IndexError, TypeError, ValueError: Nothing lies there.
    """
    found: Any = entry
    for word in key.split("."):
        found = found[int(word)] if isinstance(found, list) else found[word]
    return found


def changed(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an entry with other values at dotted keys."""
    result = dict(entry)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        result[first] = _set(result[first], rest, value) if rest else value
    return result


def _set(found: Any, key: str, value: Any) -> Any:
    if isinstance(found, list):
        index, _, rest = key.partition(".")
        copy = list(found)
        copy[int(index)] = _set(copy[int(index)], rest, value) if rest else value
        return copy
    return changed(found, {key: value})
