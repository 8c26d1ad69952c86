"""A study that is about to run: checked, its identity, and the settings of each of its trials."""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import metrics
from evaluation.measuring.metric import Metric, ValueSpec
from genmodels.build import build, config_class
from genmodels.networks.shape import ImageShape
from pipelines.data.prepared import Prepared
from pipelines.settings import params, presets
from pipelines.settings.code_version import training_version
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import Evaluate, Train
from pipelines.training import fingerprint
from pipelines.tuning import space
from pipelines.tuning.settings import Direction, Objective, Tune, load_studies

#: Hexadecimal digits of the hash in a study's name.
DIGITS = 8
#: By setting the command-line option that overrides it.
OPTIONS = {"trials": "--trials", "seed": "--seed", "seconds": "--timeout"}
#: Reason of a trial that the pruner stopped; other reasons are sentences.
PRUNED = "pruned"
#: For a model that is built only to see which metrics it supports.
_SHAPE, _CLASSES = ImageShape(1, 28, 28), 10
#: Largest number of combinations of the settings that conditions depend on.
MOST_CASES = 500
#: Values that the training loop records on the validation split.
RECORDED = ("distortion", "rate", "elbo")
#: By value its metric and, for an objective, its direction.
Measured = dict[str, tuple[Metric, Direction | None]]


@dataclass(frozen=True)
class Study:
    """A study of tune.yaml with everything that its values depend on.

    Attributes:
        base: The study's model: the entry of `models:` that it starts from.
        evaluate: Section `evaluate` with the metrics of a trial, on the validation split.
        metrics: By objective its metric, in the order of the objectives and their `directions`.
    """

    name: str
    settings: Tune
    base: Mapping[str, Any]
    train: Train
    evaluate: Evaluate
    metrics: Mapping[str, Metric]
    directions: tuple[Direction, ...]
    data: Prepared

    @functools.cached_property
    def digest(self) -> str:
        """Hash of everything that determines a trial's values: a changed space is another study.

        Budget, sampler and pruner are left out: they determine only which trials there are.
        """
        settings = self.settings.model_dump(
            include={"space", "objectives", "num_steps", "training_seed", "constraints"}
        )
        content = self.data.content
        return fingerprint.digest(
            {
                "settings": settings,
                "base": dict(self.base),
                "train": self.train.model_dump(include={"precision"}),
                "evaluate": self.evaluate.model_dump(exclude={"grid_images"}),
                "splits": {name: content["splits"][name] for name in ("train", "valid")},
                "features": content.get("features"),
                "code": training_version(self.base["kind"]),
            }
        )

    @property
    def full_name(self) -> str:
        """Its name in the storage."""
        return f"{self.name}-{self.digest[:DIGITS]}"

    @property
    def values(self) -> list[str]:
        """The names of the objectives."""
        return list(self.metrics)

    @property
    def is_pruned(self) -> bool:
        """Whether its trials may stop early."""
        return self.settings.pruner.name != "none"

    def entry(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial with the values that `space.suggest` has drawn.

        Raises:
            UserError: The `Config` refuses them.
        """
        entry = space.changed(self.base, values) | {"num_steps": self.settings.num_steps}
        presets.check_entry(entry, f"study {self.name}")
        return entry

    def checkpoint(self, first: int, entry: Mapping[str, Any]) -> Path:
        """The checkpoint of a trial; `first` is its number, or that of the one that it retries."""
        # In another storage, or with another sampler seed, this number is another trial.
        key = fingerprint.digest([self.digest, self.train.model_dump(), first, dict(entry)])
        return fingerprint.checkpoint(key)


def load(name: str, settings: Params, **overrides: float | None) -> Study:
    """A study of tune.yaml; `trials`, `seed` and `seconds` override its settings of these names.

    Raises:
        UserError: There is no such study, it contradicts its model, or an override is not allowed.
    """
    studies = load_studies()
    if name not in studies:
        raise UserError(
            f"tune.yaml: tune.{name}: no such study{suggest(name, list(studies))}; "
            f"there are {', '.join(studies) or 'none'}"
        )
    tune = studies[name]
    measured = check_study(tune, settings, f"tune.yaml: tune.{name}")
    for key, value in overrides.items():
        if value is not None:
            tune = check(Tune, tune.model_dump() | {key: value}, OPTIONS[key])
    names = list(dict.fromkeys(metric.name for metric, _ in measured.values()))
    return Study(
        name,
        tune,
        settings.models[tune.model],
        settings.train,
        settings.evaluate.model_copy(update={"metrics": names, "sample_sets": 1}),
        {objective.metric: measured[objective.metric][0] for objective in tune.objectives},
        tuple(direction for _, direction in measured.values() if direction is not None),
        Prepared.of_pipeline(settings.features),
    )


def check_study(study: Tune, settings: Params, where: str) -> Measured:
    """Checks the study at `where` (file and key) against its model and the metrics.

    Returns:
        The values that a trial measures, the objectives first.

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
    measured: Measured = {}
    for objective in study.objectives:
        metric, spec = _find(settings, study.model, objective.metric, f"{where}.objectives")
        direction = _direction(study, objective, metric, spec, f"{where}.objectives")
        measured[objective.metric] = (metric, direction)
    for name in study.watch:
        metric, _ = _find(settings, study.model, name, f"{where}.watch")
        measured.setdefault(name, (metric, None))
    return measured


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
        space.look_up(base, key)
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"{where}: models.{model} has no such setting") from None


def _check_conditions(study: Tune, base: Mapping[str, Any], where: str) -> None:
    for key, parts in study.space.items():
        for part in parts:
            for other, wanted in (part.when or {}).items():
                _check_condition(study, key, other, wanted, f"{where}.{key}.when.{other}")
    keys = space.conditions(study.space)
    num_cases = math.prod(sum(len(space.corners(p)) for p in study.space[key]) for key in keys)
    if num_cases > MOST_CASES:
        raise UserError(f"{where}: conditions have {num_cases} cases; at most {MOST_CASES}")
    for case in space.cases(study.space, base):
        for key, parts in study.space.items():
            used = [part for part in parts if space.is_used(part, case, base)]
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
    possible = [value for part in parts for value in space.corners(part)]
    for value in wanted:
        if value not in possible:
            raise UserError(f"{where}: {value!r} is not one of {possible}")


def _corners(study: Tune, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries with the ends and choices of every part, in every case of the conditions."""
    start = {**base, "num_steps": study.num_steps}
    for case in space.cases(study.space, base):
        used = {
            key: part
            for key, parts in study.space.items()
            for part in parts
            if space.is_used(part, case, base)
        }
        values = {key: space.corners(part)[0] for key, part in used.items()} | case
        yield space.changed(start, values)
        for key, part in used.items():
            for value in [] if key in case else space.corners(part)[1:]:
                yield space.changed(start, values | {key: value})


def _find(settings: Params, model: str, name: str, where: str) -> tuple[Metric, ValueSpec]:
    """The metric with a value of this name, with one of the extractors, and the value's spec."""
    entry, extractors = settings.models[model], settings.features.extractors
    for metric in map(
        metrics.load_metric, dict.fromkeys([*settings.evaluate.metrics, *metrics.available()])
    ):
        for spec in metric.values:
            if name in {spec.name.format(extractor=e) for e in extractors}:
                built = build(entry, _SHAPE, _CLASSES)
                if not all(isinstance(built, protocol) for protocol in metric.requires):
                    kind = entry["kind"]
                    raise UserError(
                        f"{where}: {name!r} cannot be measured for {model} (kind {kind!r})"
                    )
                return metric, spec
    known = list(params.measured(metrics.available(), extractors))
    raise UserError(f"{where}: {name!r} is no value of evaluation/metrics/{suggest(name, known)}")


def _direction(
    study: Tune, objective: Objective, metric: Metric, spec: ValueSpec, where: str
) -> Direction:
    name, wanted = objective.metric, objective.direction
    own: Direction | None = None
    if spec.higher_is_better is not None:
        own = "maximize" if spec.higher_is_better else "minimize"
    direction = wanted or own
    if direction is None:
        raise UserError(f"{where}: {name!r} has no direction of its own: set minimize or maximize")
    if own not in (None, direction):
        better = "higher" if spec.higher_is_better else "lower"
        raise UserError(f"{where}: {wanted} contradicts {name!r}, which is better when {better}")
    if study.pruner.name != "none" and not (metric.samples or name in RECORDED):
        raise UserError(
            f"{where}: {name!r} is not measured during a training, so the pruner cannot use it: "
            "set pruner.name: none"
        )
    return direction
