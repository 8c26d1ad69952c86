"""Resolves the settings of each stage from params.yaml and the code."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from evaluation import metrics
from pipelines.settings import files, params, paths, resolved
from pipelines.settings.code_version import code_version
from pipelines.settings.params import Params
from pipelines.settings.resolved import R, Resolved
from pipelines.settings.sections import NAME_PATTERN
from pipelines.settings.yaml_files import read_yaml


def load(stage: type[R], model: str | None = None) -> R:
    """The settings of a stage.

    DVC runs `resolve` before a stage. A stage that is started by hand first resolves params.yaml,
    so that it uses the current settings. A model need not be selected.

    Raises:
        UserError: params.yaml has a mistake, there is no such model, or the file is missing.
    """
    if "DVC_STAGE" not in os.environ:
        settings, models = params.load(), [] if model is None else [model]
        for name in models:
            settings.require_model(name)
            params.warn(settings, name)
        write(settings, [stage], models, paths.RESOLVE)
    return resolved.read(stage, resolved.path(stage.stage, model))


def write(
    settings: Params, stages: Sequence[type[Resolved]], models: Sequence[str], folder: Path
) -> None:
    """Writes the files of stages; `models` are those of the stages with one file per model."""
    files.write_json(resolved.path(resolved.SEEDS, None, folder), settings.seeds)
    for stage in stages:
        for model in models if "model" in stage.model_fields else [None]:
            content = resolve(settings, stage, model).model_dump()
            files.write_json(resolved.path(stage.stage, model, folder), content)


def write_studies(settings: Params, folder: Path) -> None:
    """Writes `tune/<study>.json` for each study of tune.yaml: everything that it depends on.

    DVC only compares these files. A study reads and checks tune.yaml and params.yaml itself.
    """
    content = read_yaml(paths.TUNE_YAML)
    studies = content.get("tune") if isinstance(content, dict) else None
    for name, study in (studies if isinstance(studies, dict) else {}).items():
        if not re.fullmatch(NAME_PATTERN, str(name)):
            continue
        model = study.get("model") if isinstance(study, dict) else None
        entry = settings.models.get(str(model))
        by_name = [f"genmodels.models.{entry['kind']}"] if entry else []
        by_name += [f"evaluation.metrics.{metric}" for metric in metrics.available()]
        depends_on = {
            "code": code_version("pipelines.tune", by_name),
            "study": study,
            "entry": entry,
            "train": settings.train.model_dump(),
            "evaluate": settings.evaluate.model_dump(),
        }
        files.write_json(resolved.path("tune", str(name), folder), depends_on)


def resolve(settings: Params, stage: type[R], model: str | None = None) -> R:
    """The settings of a stage, and of a model if the stage has one file per model.

    The version of the code includes what the stage imports by name: the kind and the metrics.
    """
    selected = settings.evaluate.metrics
    values = {
        **dict(settings),
        "selected": settings.trained,
        "device": settings.train.device,
        "threads": settings.train.threads,
    }
    by_name = []
    if model is not None:
        values |= {"model": model, "entry": settings.models[model]}
        by_name.append(f"genmodels.models.{settings.models[model]['kind']}")
    if stage.stage in ("references", "evaluate", "report"):
        by_name += [f"evaluation.metrics.{name}" for name in selected]
    if stage.stage == "report":
        values["definitions"] = {name: metrics.definition(name) for name in selected}
    values["code"] = code_version(f"pipelines.{stage.stage}", by_name)
    return stage.model_validate({field: values[field] for field in stage.model_fields})
