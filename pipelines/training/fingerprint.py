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
from pipelines.settings.sections import Train
from pipelines.settings.yaml_files import read_yaml

MADE_BY = "dvc repro"
#: The data of a training; the manifest contains the hashes of the labels.
DATA = ("manifest.json", "train.npy", "valid.npy")


def digest(content: Any) -> str:
    """Hash of plain values as 64 hexadecimal digits; the order of keys makes no difference."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def checkpoint(identity: str) -> Path:
    """The file of the resumable state of a training with this fingerprint or digest."""
    return paths.CHECKPOINTS / identity / "checkpoint.pt"


def run_files(model: str) -> dict[str, Path]:
    """The files that the trainings of a model depend on, by path in dvc.lock."""
    files_of_run = resolved.path(TrainSettings.stage, model), *(paths.PREPARE / n for n in DATA)
    return {file.relative_to(paths.ROOT).as_posix(): file for file in files_of_run}


def from_files(model: str, seed: int) -> str:
    """The fingerprint of a run, from the files that its training reads.

    Raises:
        UserError: A file is missing.
    """
    for name, file in run_files(model).items():
        if not file.is_file():
            raise UserError(f"{name}: no such file; `{MADE_BY}` makes it")
    hashes = {name: files.md5(file) for name, file in run_files(model).items()}
    return digest({"files": hashes, "seed": seed})


def from_lock(model: str, seed: int, lock: Mapping[str, Any]) -> str:
    """The fingerprint of a completed run, from dvc.lock, as `read_lock` returns it.

    Raises:
        UserError: dvc.lock does not contain the model.
    """
    hashes = {dep["path"]: dep["md5"] for dep in train_stage(model, lock)["deps"]}
    names = list(run_files(model))
    if missing := [name for name in names if name not in hashes]:
        raise UserError(
            f"{paths.DVC_LOCK.name}: train@{model} lacks {missing[0]}: another version of the code "
            f"trained it; `{MADE_BY}` trains it again"
        )
    return digest({"files": {name: hashes[name] for name in names}, "seed": seed})


def of_settings(
    entry: Mapping[str, Any], train: Train, splits: Mapping[str, Any], seed: int
) -> str:
    """The identity of a training beside the pipeline, from its settings and the splits' hashes.

    The code, the device and the number of threads do not count.
    """
    loop = train.model_dump(exclude={"device", "threads"})
    data = {split: splits[split] for split in ("train", "valid")}
    return digest({"entry": entry, "seed": seed, "train": loop, "data": data})


def train_stage(model: str, lock: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stage `train@<model>` in dvc.lock.

    Raises:
        UserError: dvc.lock does not contain the model.
    """
    stage: Mapping[str, Any] | None = lock.get(f"train@{model}")
    if stage is None:
        raise UserError(f"{paths.DVC_LOCK.name}: model {model} is not in it; `{MADE_BY}` trains it")
    return stage


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
    """The MD5 of an out (a path as in dvc.yaml) of a stage in dvc.lock; None if it has none."""
    outs = (lock.get(stage) or {}).get("outs", [])
    return next((out["md5"] for out in outs if out["path"] == path), None)
