"""What git has of the results: mean, deviation and count of each metric, settings, data versions.

At another commit only the files in git exist, so the training seeds' own values are not known, and
neither are pictures or weights.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.settings import paths, presets, yaml_files
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params

Metrics = Mapping[str, Mapping[str, Any]]
#: The sections of params.yaml that can change a value.
SECTIONS = [name for name in Params.model_fields if name != "selected"]
#: Stages whose outputs every value depends on, and what these outputs are.
INPUTS = {"prepare": "prepared data", "features": "feature extractors"}


@dataclass(frozen=True)
class Results:
    """The results of a commit or of this checkout.

    Attributes:
        label: The name of the commit, for people.
        metrics: For each model its metrics: `mean`, `std`, `n` and, without a mean, `reason`.
        settings: The sections of params.yaml, the entries of `models` with those of their bases.
        inputs: For each stage of `INPUTS` the hashes of its outputs, as far as dvc.lock has them.
    """

    label: str
    metrics: Mapping[str, Metrics]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]


def at_commit(revision: str) -> Results:
    """The results at a commit, branch or tag.

    Raises:
        UserError: There is no such commit, this is no git repository, or a file is broken there.
    """
    try:
        name = f"{revision}^{{commit}}"
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", name).strip()
        label = f"{revision} ({_git('log', '-1', '--format=%h, %cs', commit).strip()})"
        places = (paths.METRICS, paths.PARAMS, paths.DVC_LOCK)
        folder, *files = (path.relative_to(paths.ROOT).as_posix() for path in places)
        names = _git("ls-tree", "--name-only", commit, f"{folder}/", *files).splitlines()
        texts = {name: _git("show", f"{commit}:./{name}") for name in names}
    except (OSError, subprocess.CalledProcessError):
        raise UserError(f"--against: {revision}: no such commit (`git log` lists them)") from None
    return _results(label, texts, f"{revision}:")


def of_checkout() -> Results:
    """The results of this checkout.

    Raises:
        UserError: A file is broken.
    """
    files = [path for path in (paths.PARAMS, paths.DVC_LOCK) if path.is_file()]
    files += sorted(paths.METRICS.glob("*.json"))
    texts = {path.relative_to(paths.ROOT).as_posix(): path.read_text("utf-8") for path in files}
    return _results("this checkout", texts, "")


def _results(label: str, texts: Mapping[str, str], prefix: str) -> Results:
    """Reads files by their path in the repository; an error has the prefix before the path."""
    metrics: dict[str, Metrics] = {}
    documents: dict[str, Any] = {}
    for path, text in texts.items():
        if not path.endswith(".json"):
            documents[path] = yaml_files.parse_yaml(text, f"{prefix}{path}") or {}
            continue
        try:
            metrics[Path(path).stem] = dict(json.loads(text)["metrics"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{prefix}{path}: not the metrics of a model") from None
    settings = documents.get(paths.PARAMS.name, {})
    if "models" in settings:
        where = f"{prefix}{paths.PARAMS.name}: models"
        settings = {**settings, "models": presets.merge(settings["models"], where)}
    stages = documents.get(paths.DVC_LOCK.name, {}).get("stages", {})
    inputs = {
        stage: {out["path"]: out["md5"] for out in stages[stage]["outs"]}
        for stage in INPUTS
        if stage in stages
    }
    return Results(label, metrics, settings, inputs)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
