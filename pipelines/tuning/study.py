"""A study that is about to run: its identity, and the settings of each of its trials."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.measuring.metric import Metric
from genmodels.networks.shape import ImageShape
from pipelines.data import splits
from pipelines.data.prepared import Prepared
from pipelines.settings import presets
from pipelines.settings.code_version import training_version
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import Evaluate, Train
from pipelines.training import fingerprint
from pipelines.tuning import check as tune_check
from pipelines.tuning import space
from pipelines.tuning.settings import Direction, Tune

#: Hexadecimal digits of the hash in a study's name.
DIGITS = 8
#: By setting the command-line option that overrides it.
OPTIONS = {"trials": "--trials", "seed": "--seed", "seconds": "--timeout"}
#: Reason of a trial that the pruner stopped; other reasons are sentences.
PRUNED = "pruned"


@dataclass(frozen=True)
class Study:
    """A study of tune.yaml with everything that its values depend on.

    Attributes:
        name: A key of `tune:`.
        settings: Its settings.
        base: The study's model: the entry of `models:` that it starts from.
        train: Section `train`.
        evaluate: Section `evaluate` with the metrics of a trial, on the validation split.
        metrics: By objective its metric, in the order of the objectives.
        directions: The objectives' directions, `minimize` or `maximize`.
        data: The data of the trials.
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

    @functools.cached_property
    def shape(self) -> ImageShape:
        """Shape of the images."""
        return ImageShape(*splits.load_manifest(self.data.folder)["image_shape"])

    @functools.cached_property
    def num_classes(self) -> int:
        """Number of classes of the data; 0 without labels."""
        return splits.load_manifest(self.data.folder)["num_classes"] or 0

    def entry(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial.

        Args:
            values: By dotted key, as `space.suggest` returns them.

        Raises:
            UserError: The `Config` refuses them.
        """
        entry = {**self.full_entry(values), "num_steps": self.settings.num_steps}
        presets.check_entry(entry, f"study {self.name}")
        return entry

    def full_entry(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same at full length, which is `num_steps` of the study's model."""
        return space.changed(self.base, values)

    def checkpoint(self, first: int, entry: Mapping[str, Any]) -> Path:
        """The checkpoint of a trial.

        Args:
            first: Its number, or, for a retry, that of the trial that lost its worker.
            entry: Its settings: in another storage, or with another sampler seed, the trial with
                this number is another trial.
        """
        key = fingerprint.digest([self.digest, self.train.model_dump(), first, dict(entry)])
        return fingerprint.checkpoint(key)


def load(
    name: str,
    settings: Params,
    trials: int | None = None,
    seed: int | None = None,
    seconds: float | None = None,
) -> Study:
    """A study of tune.yaml.

    Args:
        name: A key of `tune:`.
        settings: All of params.yaml.
        trials: Overrides the setting of this name.
        seed: Overrides the setting of this name.
        seconds: Overrides the setting of this name.

    Raises:
        UserError: There is no such study, it contradicts its model, or an override is not allowed.
    """
    studies = tune_check.load_studies()
    if name not in studies:
        raise UserError(
            f"tune.yaml: tune.{name}: no such study{suggest(name, list(studies))}; "
            f"there are {', '.join(studies) or 'none'}"
        )
    tune = studies[name]
    tune_check.check_study(tune, settings, f"tune.yaml: tune.{name}")
    for key, value in {"trials": trials, "seed": seed, "seconds": seconds}.items():
        if value is not None:
            raw = tune.model_dump() | {key: value}
            tune = check(Tune, raw, OPTIONS[key])
    metrics: dict[str, Metric] = {}
    directions: list[Direction] = []
    for objective in tune.objectives:
        metric_and_spec = tune_check.value_spec(settings, objective.metric)
        assert metric_and_spec is not None  # `check_study` has looked it up
        metrics[objective.metric] = metric_and_spec[0]
        directions.append(tune_check.direction(objective, metric_and_spec[1]))
    watched = filter(None, (tune_check.value_spec(settings, value) for value in tune.watch))
    measured = [*(metric.name for metric in metrics.values()), *(m.name for m, _ in watched)]
    evaluate = settings.evaluate.model_copy(
        update={"metrics": list(dict.fromkeys(measured)), "sample_sets": 1}
    )
    return Study(
        name,
        tune,
        settings.models[tune.model],
        settings.train,
        evaluate,
        metrics,
        tuple(directions),
        Prepared.of_pipeline(settings.features),
    )
