"""Resolves the entries of `models:` from their bases and checks them.

An entry with `base: <entry>` inherits the settings of that entry and overrides them with its own
lines; a base can have a base. From a base of another kind it inherits the settings that both kinds
have. A resolved entry is checked against the `Config` of its kind.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from genmodels import build
from genmodels.base.config import ModelConfig
from pipelines.settings.errors import UserError
from pipelines.settings.refusals import check, show, suggest
from pipelines.settings.sections import NAME_PATTERN


class _Origins(NamedTuple):
    """A resolved entry: its settings, and for each setting the entry that sets it."""

    settings: dict[str, Any]
    origins: dict[str, str]


def resolve(models: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Resolves and checks all entries of the section at `where`, such as `params.yaml: models`.

    Returns:
        All settings of each entry, in the order and with the types of the `Config` of its kind, so
        that the order of the lines and the spelling of a number (4 or 4.0) make no difference.

    Raises:
        UserError: The first mistake, with the entry that sets the value.
    """
    entries = {name: _resolved(models, name, where, []) for name in models}
    return {
        name: check_entry(settings, f"{where}.{name}", origins).model_dump()
        for name, (settings, origins) in entries.items()
    }


def merge(models: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Resolves all entries without checking their values, for entries of another commit."""
    return {name: _resolved(models, name, where, []).settings for name in models}


def _resolved(models: Mapping[str, Any], name: str, where: str, heirs: list[str]) -> _Origins:
    entry = models[name]
    if not re.fullmatch(NAME_PATTERN, str(name)):
        raise UserError(f"{where}: {show(name)} is not allowed: use a-z, 0-9 and _ in a name")
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}.{name}: {show(entry)} is not a mapping of settings")
    own = {key: value for key, value in entry.items() if key != "base"}
    origins = dict.fromkeys(own, name)
    if "base" not in entry:
        return _Origins(own, origins)
    base, place = entry["base"], f"{where}.{name}.base"
    if not isinstance(base, str) or base not in models:
        raise UserError(f"{place}: {show(base)}: {no_such_model(str(base), models)}")
    if base in [*heirs, name]:
        raise UserError(f"{place}: {' -> '.join([*heirs, name, base])} is a circle")
    inherited = _resolved(models, base, where, [*heirs, name])
    settings = inherited.settings | own
    if own.get("kind", inherited.settings.get("kind")) != inherited.settings.get("kind"):
        fields = _config(settings, f"{where}.{name}").model_fields
        settings = {key: value for key, value in settings.items() if key in fields or key in own}
    return _Origins(settings, inherited.origins | origins)


def check_entry(
    entry: Mapping[str, Any], where: str, origins: Mapping[str, str] | None = None
) -> ModelConfig:
    """Checks all settings of the entry at `where` against the `Config` of its kind.

    Raises:
        UserError: The first mistake, with the entry that sets the value.
    """
    config = _config(entry, where)
    try:
        return check(config, dict(entry), where)
    except UserError as error:
        raise UserError(f"{error}{_origins_in(str(error), where, origins or {})}") from None


def _origins_in(error: str, where: str, origins: Mapping[str, str]) -> str:
    """The entries that set the settings in an error, if it is not the entry itself."""
    own = where.rsplit(".", maxsplit=1)[-1]
    words = set(re.findall(r"\w+", error.partition("; allowed:")[0]))
    places = [
        f"{key} is set in models.{o}" for key, o in origins.items() if o != own and key in words
    ]
    return f" ({', '.join(places)})" if places else ""


def _config(entry: Mapping[str, Any], where: str) -> type[ModelConfig]:
    kind, kinds = entry.get("kind"), build.kinds()
    if kind not in kinds:
        raise UserError(
            f"{where}.kind: {show(kind)} is not one of {', '.join(kinds)}"
            f"{suggest(str(kind), kinds)}"
        )
    return build.config_class(str(kind))


def no_such_model(name: str, models: Iterable[str]) -> str:
    """The end of an error about an unknown model, with the nearest name and all names."""
    names = list(models)
    return f"no such model{suggest(name, names)}; there are {', '.join(names)}"
