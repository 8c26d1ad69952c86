"""The resolved settings of each stage: one small file per stage and model in `outputs/resolve/`.

The stage `resolve` writes the files from params.yaml and the code. Every other stage reads its own
file, not params.yaml. DVC compares the files, so a stage reruns if and only if its settings, the
version of its code or its data change.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from pipelines.settings import files, paths, sections
from pipelines.settings.refusals import check
from pipelines.settings.sections import Name, Section, Seeds

MADE_BY = "dvc repro resolve"
SEEDS = "seeds"
Threads = Annotated[int, Field(ge=1)]


class Resolved(Section):
    """The settings of a stage, with the version of its code."""

    stage: ClassVar[str]
    code: str


class PrepareSettings(Resolved):
    """The settings of `prepare`."""

    stage = "prepare"
    prepare: sections.Prepare


class FeaturesSettings(Resolved):
    """The settings of `features`."""

    stage = "features"
    features: sections.Features
    threads: Threads


class ReferencesSettings(Resolved):
    """The settings of `references`."""

    stage = "references"
    evaluate: sections.Evaluate
    features: sections.Features
    threads: Threads


class TrainSettings(Resolved):
    """The settings of `train@<model>`, without the seeds.

    Two models with equal settings are different runs. `entry` has all settings of the model.
    """

    stage = "train"
    model: Name
    entry: dict[str, Any]
    train: sections.Train


class EvaluateSettings(Resolved):
    """The settings of `evaluate@<model>`."""

    stage = "evaluate"
    model: Name
    seeds: Seeds
    evaluate: sections.Evaluate
    features: sections.Features
    device: Literal["auto", "cpu", "cuda"]
    threads: Threads


class ReportSettings(Resolved):
    """The settings of `report`, which prints `definitions`, the docstring of each metric's file."""

    stage = "report"
    selected: list[Name]
    seeds: Seeds
    definitions: dict[Name, str]
    report: sections.Report


class PublishSettings(Resolved):
    """The settings of `publish`."""

    stage = "publish"
    selected: list[Name]
    report: sections.Report


#: By stage, in the order of the pipeline. A class with a field `model` has one file per model.
STAGES: dict[str, type[Resolved]] = {cls.stage: cls for cls in Resolved.__subclasses__()}
R = TypeVar("R", bound=Resolved)


def path(stage: str, model: str | None = None, folder: Path | None = None) -> Path:
    """The file of a stage, or of a stage and a model (default folder: `outputs/resolve/`)."""
    name = f"{stage}.json" if model is None else f"{stage}/{model}.json"
    return (folder or paths.RESOLVE) / name


def read(settings: type[R], file: Path) -> R:
    """The settings of a stage from a file that `resolve` wrote.

    Raises:
        UserError: The file is missing or not written by `resolve`.
    """
    return check(settings, files.read_json(file, MADE_BY), file.name)
