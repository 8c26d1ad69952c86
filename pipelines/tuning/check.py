"""Reads the studies of tune.yaml and refuses, in one line, what cannot be run."""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from evaluation import metrics
from evaluation.measuring.metric import Metric, ValueSpec
from genmodels.build import build, config_class
from genmodels.networks.shape import ImageShape
from pipelines.settings import params, paths, presets, yaml_files
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import Name, Section
from pipelines.tuning import space as tune_space
from pipelines.tuning.settings import PARTS, Direction, Objective, Tune

#: For a model that is only asked what it can do.
_SHAPE, _CLASSES = ImageShape(1, 28, 28), 10
#: Combinations of the settings that conditions look at; more are no study for a small budget.
MOST_BRANCHES = 500
#: What the loop tells of itself while it trains, by the value that it is.
WATCHED = ("distortion", "rate", "elbo")


class _File(Section):
    """The whole of tune.yaml."""

    tune: dict[Name, Tune]


def load_studies() -> dict[str, Tune]:
    """Reads tune.yaml and checks the form of each study.

    Raises:
        UserError: The first error: its full key, the value and what is allowed.
    """
    file, raw = paths.TUNE_YAML.name, yaml_files.read_yaml(paths.TUNE_YAML)
    if not isinstance(raw, dict) or not isinstance(raw.get("tune"), dict):
        raise UserError(f"{file}: expected a section tune: of studies")
    # One study at a time: an error inside a part of a space then names the keys of that part only.
    for name, study in raw["tune"].items():
        where = f"{file}: tune.{name}"
        if isinstance(study, dict) and isinstance(study.get("space"), dict):
            for key, parts in study["space"].items():
                several = isinstance(parts, list)
                for index, part in enumerate(parts if several else [parts]):
                    place = f"{where}.space.{key}" + (f".{index}" if several else "")
                    _check_part(part, place)
        check(functools.partial(Tune.model_validate, study), Tune, where)
    return check(functools.partial(_File.model_validate, raw), _File, file).tune


def _check_part(part: Any, where: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in PARTS:
        raise UserError(f"{where}: type {kind!r} is not one of {', '.join(PARTS)}")
    section = PARTS[kind]
    check(functools.partial(section.model_validate, part), section, where)


def check_study(study: Tune, settings: Params, where: str) -> None:
    """Checks a study against its model and the metrics.

    Args:
        study: The study.
        settings: All of params.yaml, its models checked.
        where: The file and the key, for the error.

    Raises:
        UserError: The first mistake.
    """
    if study.model not in settings.models:
        raise UserError(
            f"{where}.model: {study.model!r} is no key of models: ({', '.join(settings.models)})"
        )
    if shared := [seed for seed in study.retrain.seeds if seed in settings.seeds]:
        raise UserError(
            f"{where}.retrain.seeds: {', '.join(map(str, shared))} also in seeds:, so the report "
            "would show trainings that something was chosen by: they have to be fresh"
        )
    base = settings.models[study.model]
    fields = list(config_class(base["kind"]).model_fields)
    for key in study.space:
        _check_key(key, base, fields, f"{where}.space.{key}")
    _check_conditions(study, base, f"{where}.space")
    for entry in _corners(study, base, f"{where}.space"):
        presets.check_entry(entry, f"{where}.space")
    _check_values(settings, study, base, where)


def _check_key(key: str, base: Mapping[str, Any], fields: list[str], where: str) -> None:
    first = key.split(".", maxsplit=1)[0]
    if first in ("kind", "num_steps"):
        reason = "the study's model" if first == "kind" else "num_steps of the study"
        raise UserError(f"{where}: not searched; {reason} decides it")
    if first not in fields:
        raise UserError(
            f"{where}: kind {base['kind']!r} has no such setting{suggest(first, fields)}; "
            f"it has {', '.join(fields)}"
        )
    try:
        tune_space.look_up(base, key)
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"{where}: nothing lies there in the study's model") from None


def _check_conditions(study: Tune, base: Mapping[str, Any], where: str) -> None:
    for key, parts in study.space.items():
        for part in parts:
            for other, wanted in (part.when or {}).items():
                _check_condition(study, key, other, wanted, where)
    branches = 1
    for key in tune_space.conditions(study.space):
        branches *= sum(len(part.corners) for part in study.space[key])
    if branches > MOST_BRANCHES:
        raise UserError(f"{where}: conditions make {branches} cases; at most {MOST_BRANCHES}")
    for chosen in tune_space.branches(study.space, base):
        for key, parts in study.space.items():
            active = [part for part in parts if tune_space.counts(part, chosen)]
            if len(active) > 1:
                told = ", ".join(f"{k}: {v}" for k, v in chosen.items())
                raise UserError(f"{where}.{key}: {len(active)} parts count at once ({told})")


def _check_condition(study: Tune, key: str, other: str, wanted: list[Any], where: str) -> None:
    if other not in study.space:
        raise UserError(f"{where}.{key}.when.{other}: not in the space, so nothing switches it")
    if list(study.space).index(other) >= list(study.space).index(key):
        raise UserError(f"{where}.{key}.when.{other}: has to stand above {key} in the space")
    parts = study.space[other]
    if any(part.type in ("float", "int") for part in parts):
        raise UserError(f"{where}.{key}.when.{other}: is a range; a condition needs choices")
    possible = [value for part in parts for value in part.corners]
    for value in wanted:
        if value not in possible:
            raise UserError(f"{where}.{key}.when.{other}: {value!r} is not one of {possible}")


def _corners(study: Tune, base: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Entries in which every part takes its ends or choices, in every case of the conditions."""
    start = {**base, "num_steps": study.num_steps}
    for chosen in tune_space.branches(study.space, base):
        active = {
            key: part
            for key, parts in study.space.items()
            for part in parts
            if tune_space.counts(part, chosen)
        }
        values = {key: part.corners[0] for key, part in active.items()} | chosen
        yield tune_space.changed(start, values)
        for key, part in active.items():
            for value in [] if key in chosen else part.corners[1:]:
                yield tune_space.changed(start, values | {key: value})


def value_spec(settings: Params, name: str) -> tuple[Metric, ValueSpec] | None:
    """The metric that has a value of this name with one of the extractors, and its place there."""
    ordered = dict.fromkeys([*settings.evaluate.metrics, *metrics.available()])
    for loaded in map(metrics.load_metric, ordered):
        for spec in loaded.values:
            if name in {spec.name.format(extractor=e) for e in settings.features.extractors}:
                return loaded, spec
    return None


def direction(objective: Objective, spec: ValueSpec) -> Direction:
    """`minimize` or `maximize`."""
    if objective.direction is not None:
        return objective.direction
    return "maximize" if spec.higher_is_better else "minimize"


def _check_values(settings: Params, study: Tune, base: Mapping[str, Any], where: str) -> None:
    model = build(base, _SHAPE, _CLASSES)
    known = params.measured(metrics.available(), settings.features.extractors)
    for place, name in itertools.chain(
        (("objectives", objective.metric) for objective in study.objectives),
        (("watch", name) for name in study.watch),
    ):
        found = value_spec(settings, name)
        if found is None:
            raise UserError(
                f"{where}.{place}: {name!r} is no value of evaluation/metrics/"
                f"{suggest(name, list(known))}"
            )
        if not all(isinstance(model, protocol) for protocol in found[0].requires):
            raise UserError(
                f"{where}.{place}: {name!r} is a value that {study.model} "
                f"(kind {base['kind']!r}) cannot have"
            )
    for objective in study.objectives:
        _check_direction(settings, study, objective, f"{where}.objectives")


def _check_direction(settings: Params, study: Tune, objective: Objective, where: str) -> None:
    found = value_spec(settings, objective.metric)
    assert found is not None  # it was looked up before
    loaded, spec = found
    own = spec.higher_is_better
    if own is None and objective.direction is None:
        raise UserError(
            f"{where}: {objective.metric!r} is a diagnostic without a direction: "
            "set minimize or maximize"
        )
    if own is not None and objective.direction not in (None, "maximize" if own else "minimize"):
        better = "higher" if own else "lower"
        raise UserError(
            f"{where}: {objective.metric!r} is better {better}, not to {objective.direction}"
        )
    if study.pruner.name != "none" and not (loaded.samples or objective.metric in WATCHED):
        raise UserError(
            f"{where}: {objective.metric!r} is not watched during a training, so nothing can be "
            "pruned by it: set pruner.name: none"
        )
