"""A study that is about to run: what identifies it, and the settings of each of its trials."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.measuring.metric import Metric
from genmodels.networks.shape import ImageShape
from pipelines.data import splits
from pipelines.data.prepared import Prepared
from pipelines.settings import paths, presets
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
#: By setting the option of the command line that stands in for it.
OPTIONS = {"trials": "--trials", "seed": "--seed", "seconds": "--timeout"}
#: Why a trial that its pruner gave up has no values; other reasons are sentences.
PRUNED = "pruned"


@dataclass(frozen=True)
class Study:
    """A study of tune.yaml with all that its values depend on.

    Attributes:
        name: A key of `tune:`.
        settings: Its settings.
        base: The entry of `models:` that it starts from.
        train: Section `train`.
        evaluate: Section `evaluate` with the metrics of a trial, on the validation split.
        metrics: By objective its metric, in the order of the objectives.
        directions: Of the objectives, `minimize` or `maximize`.
        data: What trials are trained and measured on.
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
        """Hash of all that decides a trial's values: a changed space is another study.

        Not of the budget, the sampler and the pruner, which decide which trials there are.
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
        """What it is called in the storage."""
        return f"{self.name}-{self.digest[:DIGITS]}"

    @property
    def values(self) -> list[str]:
        """The names of the objectives."""
        return list(self.metrics)

    @property
    def is_pruned(self) -> bool:
        """Whether a trial may be given up before its end."""
        return self.settings.pruner.name != "none"

    @functools.cached_property
    def shape(self) -> ImageShape:
        """Of the images."""
        return ImageShape(*splits.load_manifest(self.data.folder)["image_shape"])

    @functools.cached_property
    def num_classes(self) -> int:
        """Of the data; 0 without labels."""
        return splits.load_manifest(self.data.folder)["num_classes"] or 0

    def entry(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial.

        Args:
            values: By dotted key, of `tune_space.suggest`.

        Raises:
            UserError: The `Config` refuses them.
        """
        changed = space.changed(self.base, values)
        entry = {**changed, "num_steps": self.settings.num_steps}
        presets.check_entry(entry, f"study {self.name}")
        return entry

    def full_entry(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same at the full budget, which is that of the entry it started from."""
        return space.changed(self.base, values)

    def checkpoint(self, first: int, entry: Mapping[str, Any]) -> Path:
        """The resumable state of a trial.

        Args:
            first: Its number, or of a retry that of the trial that was lost.
            entry: Its settings: in another storage, or with another sampler's seed, the trial of
                this number is another one, which must not go on from here.
        """
        key = fingerprint.digest([self.digest, self.train.model_dump(), first, dict(entry)])
        return paths.CHECKPOINTS / key / "checkpoint.pt"


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
        trials: Instead of its own number.
        seed: Instead of its own seed.
        seconds: Instead of its own time.

    Raises:
        UserError: There is no such study, it contradicts its model, or a value that is given
            instead of its own would be refused there.
    """
    studies = tune_check.load_studies()
    if name not in studies:
        raise UserError(
            f"tune.yaml: tune.{name}: no such study{suggest(name, list(studies))}; "
            f"there are {', '.join(studies) or 'none'}"
        )
    tune = studies[name]
    tune_check.check_study(tune, settings, f"tune.yaml: tune.{name}")
    given = {"trials": trials, "seed": seed, "seconds": seconds}
    for key, value in given.items():
        if value is not None:
            changed = tune.model_dump() | {key: value}
            tune = check(functools.partial(Tune.model_validate, changed), Tune, OPTIONS[key])
    metrics: dict[str, Metric] = {}
    directions: list[Direction] = []
    for objective in tune.objectives:
        found = tune_check.value_spec(settings, objective.metric)
        assert found is not None  # the study was checked
        metrics[objective.metric] = found[0]
        directions.append(tune_check.direction(objective, found[1]))
    watched = [tune_check.value_spec(settings, value) for value in tune.watch]
    wanted = [found[0].name for found in watched if found is not None]
    names = dict.fromkeys([metric.name for metric in metrics.values()] + wanted)
    evaluate = settings.evaluate.model_copy(update={"metrics": list(names), "sample_sets": 1})
    data = Prepared.of_pipeline(settings.features)
    base = settings.models[tune.model]
    return Study(name, tune, base, settings.train, evaluate, metrics, tuple(directions), data)
