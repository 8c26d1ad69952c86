"""The fingerprint of a training run: a hash of its settings, code, data and seed.

The settings of a run and the version of its code are one file,
`outputs/resolve/train/<model>.json`; its data are three files. The trainer hashes these files.
`publish` reads their hashes from dvc.lock and computes the same fingerprint, because the hash of a
file in dvc.lock is the MD5 of its bytes. The fingerprint identifies the run in MLflow and names the
folder with its checkpoint.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.settings import files, paths, resolved
from pipelines.settings.errors import UserError
from pipelines.settings.resolved import TrainSettings
from pipelines.settings.yaml_files import read_yaml

MADE_BY = "dvc repro"
#: The data of a training; the manifest contains the hashes of the labels.
DATA = ("manifest.json", "train.npy", "valid.npy")


def digest(content: Any) -> str:
    """Hash of plain values as 64 hexadecimal digits; the order of keys makes no difference."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def run_files(model: str) -> list[Path]:
    """The files that the trainings of a model depend on, apart from the seed."""
    return [resolved.path(TrainSettings.stage, model), *(paths.PREPARE / name for name in DATA)]


def from_files(model: str, seed: int) -> str:
    """The fingerprint of a run, from the files that its training reads.

    Raises:
        UserError: A file is missing.
    """
    for file in run_files(model):
        if not file.is_file():
            raise UserError(f"{_relative(file)}: no such file; `{MADE_BY}` makes it")
    return _fingerprint({_relative(file): files.md5(file) for file in run_files(model)}, seed)


def from_lock(model: str, seed: int, lock: Mapping[str, Any] | None = None) -> str:
    """The fingerprint of a completed run, from dvc.lock.

    Args:
        model: A key of `models:`.
        seed: The training seed.
        lock: The result of `read_lock` (default: reads dvc.lock).

    Raises:
        UserError: dvc.lock does not contain the model.
    """
    stage = train_stage(model, read_lock() if lock is None else lock)
    hashes = {dep["path"]: dep["md5"] for dep in stage["deps"]}
    names = [_relative(file) for file in run_files(model)]
    if missing := [name for name in names if name not in hashes]:
        raise UserError(
            f"{paths.DVC_LOCK.name}: train@{model} lacks {missing[0]}: another version of the code "
            f"trained it; `{MADE_BY}` trains it again"
        )
    return _fingerprint({name: hashes[name] for name in names}, seed)


def train_stage(model: str, lock: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stage `train@<model>` in dvc.lock.

    Raises:
        UserError: dvc.lock does not contain the model.
    """
    stage: Mapping[str, Any] | None = lock.get(f"train@{model}")
    if stage is None:
        raise UserError(f"{paths.DVC_LOCK.name}: model {model} is not in it; `{MADE_BY}` trains it")
    return stage


def _relative(file: Path) -> str:
    return file.relative_to(paths.ROOT).as_posix()


def _fingerprint(hashes: Mapping[str, str], seed: int) -> str:
    return digest({"files": dict(hashes), "seed": seed})


def read_lock() -> dict[str, Any]:
    """The stages of dvc.lock, by name.

    Raises:
        UserError: dvc.lock is missing, because `dvc repro` has not run yet.
    """
    if not paths.DVC_LOCK.is_file():
        raise UserError(f"{paths.DVC_LOCK.name}: no such file; `{MADE_BY}` makes it")
    stages: dict[str, Any] = read_yaml(paths.DVC_LOCK).get("stages") or {}
    return stages


def out_md5(stage: str, path: str, lock: Mapping[str, Any]) -> str | None:
    """The MD5 of an out of a stage in dvc.lock; None if dvc.lock does not contain it.

    Args:
        stage: Name of the stage, such as `prepare` or `train@vae`.
        path: Path of the out, as in dvc.yaml.
        lock: The result of `read_lock`.
    """
    for out in (lock.get(stage) or {}).get("outs", []):
        if out["path"] == path:
            md5: str = out["md5"]
            return md5
    return None
