"""Which settings differ between models, runs, trials or commits: one function for all tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: The value of a setting that a model does not have, as `evaluation.comparing.value_text` prints
#: it; the packages of `evaluation` load torch, which `status` does not need.
MISSING = "\N{EN DASH}"


class Setting(NamedTuple):
    """A setting by its dotted key, with its value in each of several models as text."""

    key: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether two models have different values."""
        return len(set(self.values)) > 1


def text_of(value: Any) -> str:
    """The value of a setting as text: JSON, but a string without quotation marks."""
    return value if isinstance(value, str) else json.dumps(value)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys and texts; entries of a list of mappings by their position."""
    for key, value in settings.items():
        if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            yield from flatten({str(i): part for i, part in enumerate(value)}, f"{prefix}{key}.")
        elif isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", text_of(value)


def side_by_side(models: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """All settings of several models, in the order of their first appearance."""
    texts = [dict(flatten(settings)) for settings in models]
    keys = dict.fromkeys(key for model in texts for key in model)
    return [Setting(key, [model.get(key, MISSING) for model in texts]) for key in keys]


def differing(models: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """The settings whose values differ between the models."""
    return [setting for setting in side_by_side(models) if setting.differs]
