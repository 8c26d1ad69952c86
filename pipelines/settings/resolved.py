"""What each stage runs with: a small file a stage and model, below `outputs/resolve/`.

The stage `resolve` writes the files from params.yaml and the code. Every other stage reads its own
file and never params.yaml. DVC compares the files, so a stage reruns exactly if its settings, the
version of its code or its data change.
"""

import functools
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from pipelines.settings import files, paths
from pipelines.settings.refusals import check
from pipelines.settings.sections import (
    Evaluate,
    Features,
    Name,
    Prepare,
    Report,
    Section,
    Seeds,
    Train,
)

MADE_BY = "dvc repro resolve"
SEEDS = "seeds"
Device = Literal["auto", "cpu", "cuda"]
Threads = Annotated[int, Field(ge=1)]


class Resolved(Section):
    """The settings of a stage.

    Attributes:
        stage: Its name.
        code: The version of its code.
    """

    stage: ClassVar[str]
    code: str


class PrepareSettings(Resolved):
    """What `prepare` runs with."""

    stage = "prepare"
    prepare: Prepare


class FeaturesSettings(Resolved):
    """What `features` runs with."""

    stage = "features"
    features: Features
    threads: Threads


class ReferencesSettings(Resolved):
    """What `references` runs with."""

    stage = "references"
    evaluate: Evaluate
    features: Features
    threads: Threads


class TrainSettings(Resolved):
    """What `train@<model>` runs with, beside the seeds.

    Attributes:
        model: The name: two models with equal settings are two runs.
        entry: Every setting of the model.
        train: The settings that all models share.
    """

    stage = "train"
    model: Name
    entry: dict[str, Any]
    train: Train


class EvaluateSettings(Resolved):
    """What `evaluate@<model>` runs with."""

    stage = "evaluate"
    model: Name
    seeds: Seeds
    evaluate: Evaluate
    features: Features
    device: Device
    threads: Threads


class ReportSettings(Resolved):
    """What `report` runs with.

    Attributes:
        definitions: By metric the docstring of its file, which the report prints.
    """

    stage = "report"
    selected: list[Name]
    seeds: Seeds
    definitions: dict[Name, str]
    report: Report


class PublishSettings(Resolved):
    """What `publish` runs with."""

    stage = "publish"
    selected: list[Name]
    report: Report


#: By stage, in the order of the pipeline. Settings with a field `model` have a file a model.
STAGES: dict[str, type[Resolved]] = {
    settings.stage: settings
    for settings in (
        PrepareSettings,
        FeaturesSettings,
        ReferencesSettings,
        TrainSettings,
        EvaluateSettings,
        ReportSettings,
        PublishSettings,
    )
}
R = TypeVar("R", bound=Resolved)


def path(stage: str, model: str | None = None, folder: Path | None = None) -> Path:
    """The file of a stage, or of a stage and a model (default folder: `outputs/resolve/`)."""
    name = f"{stage}.json" if model is None else f"{stage}/{model}.json"
    return (folder or paths.RESOLVE) / name


def read(settings: type[R], file: Path) -> R:
    """Settings from a file, as `resolve` wrote it.

    Raises:
        UserError: The file is missing or not what `resolve` writes.
    """
    content = files.read_json(file, MADE_BY)
    return check(functools.partial(settings.model_validate, content), settings, file.name)


def load_seeds() -> list[int]:
    """The training seeds, after `load`. They are no part of a run's settings: a run has one."""
    seeds: list[int] = files.read_json(path(SEEDS), MADE_BY)
    return seeds
