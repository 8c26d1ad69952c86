"""Reads the studies of tune.yaml and refuses, in one line, what cannot be run."""

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

#: For a model that is built only to see which metrics it supports.
_SHAPE, _CLASSES = ImageShape(1, 28, 28), 10
#: Largest number of combinations of the settings that conditions depend on.
MOST_CASES = 500
#: Values that the training loop records on the validation split.
RECORDED = ("distortion", "rate", "elbo")


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
                    _check_part(part, f"{where}.space.{key}" + (f".{index}" if several else ""))
        check(Tune, study, where)
    return check(_File, raw, file).tune


def _check_part(part: Any, where: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in PARTS:
        raise UserError(f"{where}: type {kind!r} is not one of {', '.join(PARTS)}")
    section = PARTS[kind]
    check(section, part, where)


def check_study(study: Tune, settings: Params, where: str) -> None:
    """Checks a study against its model and the metrics.

    Args:
        study: The study.
        settings: All of params.yaml, its models checked.
        where: The file and the key, for the error.

    Raises:
        UserError: The first error.
    """
    if study.model not in settings.models:
        raise UserError(
            f"{where}.model: {study.model!r} is no key of models: ({', '.join(settings.models)})"
        )
    if shared := [seed for seed in study.retrain.seeds if seed in settings.seeds]:
        raise UserError(
            f"{where}.retrain.seeds: {', '.join(map(str, shared))} also in seeds: of params.yaml; "
            "they must not overlap, or the report would evaluate on seeds used for selection"
        )
    base = settings.models[study.model]
    for key in study.space:
        _check_key(key, study.model, base, f"{where}.space.{key}")
    _check_conditions(study, base, f"{where}.space")
    for entry in _corners(study, base):
        presets.check_entry(entry, f"{where}.space")
    _check_values(settings, study, base, where)


def _check_key(key: str, model: str, base: Mapping[str, Any], where: str) -> None:
    fields = list(config_class(base["kind"]).model_fields)
    first = key.split(".", maxsplit=1)[0]
    if first in ("kind", "num_steps"):
        reason = "model" if first == "kind" else "num_steps"
        raise UserError(f"{where}: cannot be searched; {reason} of the study sets it")
    if first not in fields:
        raise UserError(
            f"{where}: kind {base['kind']!r} has no such setting{suggest(first, fields)}; "
            f"it has {', '.join(fields)}"
        )
    try:
        tune_space.look_up(base, key)
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"{where}: models.{model} has no such setting") from None


def _check_conditions(study: Tune, base: Mapping[str, Any], where: str) -> None:
    for key, parts in study.space.items():
        for part in parts:
            for other, wanted in (part.when or {}).items():
                _check_condition(study, key, other, wanted, f"{where}.{key}.when.{other}")
    num_cases = 1
    for key in tune_space.conditions(study.space):
        num_cases *= sum(len(part.corners) for part in study.space[key])
    if num_cases > MOST_CASES:
        raise UserError(f"{where}: conditions have {num_cases} cases; at most {MOST_CASES}")
    for case in tune_space.cases(study.space, base):
        for key, parts in study.space.items():
            used = [part for part in parts if tune_space.is_used(part, case)]
            if len(used) > 1:
                values = ", ".join(f"{k}: {v}" for k, v in case.items())
                raise UserError(f"{where}.{key}: {len(used)} parts are used at once ({values})")


def _check_condition(study: Tune, key: str, other: str, wanted: list[Any], where: str) -> None:
    if other not in study.space:
        raise UserError(f"{where}: {other} is not in the space")
    if list(study.space).index(other) >= list(study.space).index(key):
        raise UserError(f"{where}: {other} must stand above {key} in the space")
    parts = study.space[other]
    if any(part.type in ("float", "int") for part in parts):
        raise UserError(f"{where}: {other} is a range; a condition needs choices")
    possible = [value for part in parts for value in part.corners]
    for value in wanted:
        if value not in possible:
            raise UserError(f"{where}: {value!r} is not one of {possible}")


def _corners(study: Tune, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries with the ends and choices of every part, in every case of the conditions."""
    start = {**base, "num_steps": study.num_steps}
    for case in tune_space.cases(study.space, base):
        used = {
            key: part
            for key, parts in study.space.items()
            for part in parts
            if tune_space.is_used(part, case)
        }
        values = {key: part.corners[0] for key, part in used.items()} | case
        yield tune_space.changed(start, values)
        for key, part in used.items():
            for value in [] if key in case else part.corners[1:]:
                yield tune_space.changed(start, values | {key: value})


def value_spec(settings: Params, name: str) -> tuple[Metric, ValueSpec] | None:
    """The metric with a value of this name, with one of the extractors, and the value's spec."""
    for metric in map(
        metrics.load_metric, dict.fromkeys([*settings.evaluate.metrics, *metrics.available()])
    ):
        for spec in metric.values:
            if name in {spec.name.format(extractor=e) for e in settings.features.extractors}:
                return metric, spec
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
        metric_and_spec = value_spec(settings, name)
        if metric_and_spec is None:
            raise UserError(
                f"{where}.{place}: {name!r} is no value of evaluation/metrics/"
                f"{suggest(name, list(known))}"
            )
        if not all(isinstance(model, protocol) for protocol in metric_and_spec[0].requires):
            raise UserError(
                f"{where}.{place}: {name!r} cannot be measured for {study.model} "
                f"(kind {base['kind']!r})"
            )
    for objective in study.objectives:
        metric_and_spec = value_spec(settings, objective.metric)
        assert metric_and_spec is not None
        _check_direction(study, objective, *metric_and_spec, f"{where}.objectives")


def _check_direction(
    study: Tune, objective: Objective, metric: Metric, spec: ValueSpec, where: str
) -> None:
    own = spec.higher_is_better
    if own is None and objective.direction is None:
        raise UserError(
            f"{where}: {objective.metric!r} has no direction of its own: set minimize or maximize"
        )
    if own is not None and objective.direction not in (None, "maximize" if own else "minimize"):
        better = "higher" if own else "lower"
        raise UserError(
            f"{where}: {objective.direction} contradicts {objective.metric!r}, which is better "
            f"when {better}"
        )
    if study.pruner.name != "none" and not (metric.samples or objective.metric in RECORDED):
        raise UserError(
            f"{where}: {objective.metric!r} is not measured during a training, so the pruner "
            "cannot use it: set pruner.name: none"
        )
