"""From a search space to the settings of one trial."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.tuning.settings import Categorical, Fixed, FloatRange, IntRange, Part, Space


def suggest(trial: Any, space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """Draws the settings of an Optuna trial, in the order of the space.

    Returns:
        By dotted key its value; a part whose condition does not hold is absent.
    """
    values: dict[str, Any] = {}
    for name, key, part in _parts(space):
        if is_used(part, values, base):
            values[key] = _draw(trial, name, part)
    return values


def _draw(trial: Any, name: str, part: Part) -> Any:
    if isinstance(part, FloatRange):
        return trial.suggest_float(name, part.low, part.high, log=part.log)
    if isinstance(part, IntRange):
        return trial.suggest_int(name, part.low, part.high, step=part.step, log=part.log)
    return part.value if isinstance(part, Fixed) else trial.suggest_categorical(name, part.choices)


def _parts(space: Space) -> Iterator[tuple[str, str, Part]]:
    """Each part with its name in Optuna and its key."""
    for key, parts in space.items():
        for index, part in enumerate(parts):
            yield _name_of(key, index, parts), key, part


def _name_of(key: str, index: int, parts: Sequence[Part]) -> str:
    """Its key and, where the key has several parts, its condition."""
    if len(parts) == 1:
        return key
    when = parts[index].when or {}
    values = ",".join(str(value) for wanted in when.values() for value in wanted)
    return f"{key}@{values or index}"


def searched(space: Space) -> dict[str, Part]:
    """The searched parts by their names in Optuna."""
    return {name: part for name, _, part in _parts(space) if not isinstance(part, Fixed)}


def starting_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the space that is nearest to the original settings, by the names of its parts.

    A value outside a range is moved to its end. A value that is no choice is absent.
    """
    values: dict[str, Any] = {}
    point: dict[str, Any] = {}
    for name, key, part in _parts(space):
        if is_used(part, values, base):
            value = look_up(base, key)
            if isinstance(part, FloatRange | IntRange):
                value = _into_range(part, value)
            elif isinstance(part, Fixed):
                value = part.value
            elif value not in part.choices:
                continue
            values[key] = value
            if not isinstance(part, Fixed):
                point[name] = value
    return point


def _into_range(part: FloatRange | IntRange, value: Any) -> Any:
    if not isinstance(value, int | float):
        return part.low
    value = min(max(value, part.low), part.high)
    if isinstance(part, IntRange):
        return part.low + round((value - part.low) / part.step) * part.step
    return float(value)


def original_point(space: Space, base: Mapping[str, Any]) -> dict[str, Any]:
    """The original settings, inside the space or not, by the names of the parts."""
    return {
        name: look_up(base, key)
        for name, key, part in _parts(space)
        if not isinstance(part, Fixed) and is_used(part, {}, base)
    }


def is_used(part: Part, values: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Whether a part's condition holds with these values and, for other keys, the model's."""
    return all(
        (values[key] if key in values else look_up(base, key)) in wanted
        for key, wanted in (part.when or {}).items()
    )


def corners(part: Part) -> list[Any]:
    """The values of a part that the `Config` must accept."""
    if isinstance(part, Categorical):
        return list(part.choices)
    return [part.value] if isinstance(part, Fixed) else [part.low, part.high]


def conditions(space: Space) -> list[str]:
    """The keys of all conditions, in the order of the space."""
    keys = {key for parts in space.values() for part in parts for key in part.when or {}}
    return [key for key in space if key in keys]


def cases(space: Space, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the values that conditions depend on."""
    keys = conditions(space)
    options = [[value for part in space[key] for value in corners(part)] for key in keys]
    seen = set()
    for combination in itertools.product(*options):
        case = dict(zip(keys, combination, strict=True))
        for key in keys:  # without a used part the value is the original one
            used = (part for part in space[key] if is_used(part, case, base))
            if not any(case[key] in corners(part) for part in used):
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
    result = copy.deepcopy(dict(entry))
    for key, value in values.items():
        place, _, last = key.rpartition(".")
        inside: Any = look_up(result, place) if place else result
        inside[int(last) if isinstance(inside, list) else last] = value
    return result
