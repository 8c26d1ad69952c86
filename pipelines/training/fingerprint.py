"""What identifies a training run: a hash of its settings, its data, its code and its seed.

The trainer computes it from the files it is about to use, `publish` from dvc.lock, and both get the
same value: DVC's hash of a file is the MD5 of its bytes. MLflow finds a run by it before it makes
one, and resume checkpoints lie in a folder of that name.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pipelines.settings import files, params, paths
from pipelines.settings.errors import UserError

#: What stands in dvc.yaml for a model's name and its kind: a line of `selected:`.
_PLACEHOLDER = re.compile(r"\$\{\s*(key|item)\s*\}")

MADE_BY = "dvc repro"


def fingerprint(
    model: str,
    entry: Mapping[str, Any],
    train: Mapping[str, Any],
    seed: int,
    deps: Mapping[str, str],
) -> str:
    """Hashes what determines a run.

    Args:
        model: Its name, as two names with equal settings are two runs with a folder each.
        entry: The model's entry of `models:`.
        train: Section `train`.
        seed: The training seed.
        deps: MD5 of each file the stage depends on, by path.

    Returns:
        64 hexadecimal digits, the same for equal content in any order of keys.
    """
    content = {"model": model, "entry": entry, "train": train, "seed": seed, "deps": deps}
    return digest(content)


def digest(content: Any) -> str:
    """64 hexadecimal digits of plain values, the same for equal content in any order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def from_files(model: str, seed: int) -> str:
    """The fingerprint of a run that is about to train, from params.yaml, dvc.yaml and the files.

    Raises:
        UserError: The model is unknown, or a dependency of the stage is missing or a folder.
    """
    settings = params.read_yaml(paths.PARAMS)
    entry = (settings.get("models") or {}).get(model)
    if not isinstance(entry, dict):
        raise UserError(f"{paths.PARAMS.name}: models.{model}: no such model")
    stage = params.read_yaml(paths.DVC_YAML)["stages"]["train"]["do"]
    deps = [_resolve(dep, model, entry) for dep in stage["deps"]]
    return fingerprint(model, entry, settings["train"], seed, {dep: _md5(dep) for dep in deps})


def _resolve(dep: str, model: str, entry: Mapping[str, Any]) -> str:
    # The kind of the entry itself: a model that is trained by hand need not be selected.
    values = {"key": model, "item": entry.get("kind")}
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), dep)


def _md5(dep: str) -> str:
    path = paths.ROOT / dep
    if path.is_dir():
        raise UserError(f"{paths.DVC_YAML.name}: stages.train: {dep} is a folder; list its files")
    if not path.is_file():
        raise UserError(f"{dep}: no such file, and {paths.DVC_YAML.name} lists it under train")
    return files.md5(path)


def read_lock() -> dict[str, Any]:
    """The stages of dvc.lock, by name.

    Raises:
        UserError: Nothing was reproduced yet.
    """
    if not paths.DVC_LOCK.is_file():
        raise UserError(f"{paths.DVC_LOCK.name}: no such file; `{MADE_BY}` makes it")
    stages: dict[str, Any] = params.read_yaml(paths.DVC_LOCK).get("stages") or {}
    return stages


def locked_params(model: str, lock: Mapping[str, Any]) -> dict[str, Any]:
    """What a model was trained with: keys `models.<model>`, `train` and `seeds`.

    Raises:
        UserError: dvc.lock does not hold the model.
    """
    stage = lock.get(f"train@{model}")
    if stage is None:
        raise UserError(f"{paths.DVC_LOCK.name}: model {model} is not in it; `{MADE_BY}` trains it")
    settings: dict[str, Any] = stage["params"][paths.PARAMS.name]
    return settings


def from_lock(model: str, seed: int, lock: Mapping[str, Any] | None = None) -> str:
    """The fingerprint of a run that DVC has completed.

    Args:
        model: A key of `models:`.
        seed: The training seed.
        lock: What `read_lock` returned, for a caller that asks for many.

    Raises:
        UserError: dvc.lock does not hold this model with this seed.
    """
    lock = read_lock() if lock is None else lock
    settings = locked_params(model, lock)
    if seed not in settings["seeds"]:
        raise UserError(
            f"{paths.DVC_LOCK.name}: model {model} was trained with seeds {settings['seeds']}, "
            f"not {seed}; `{MADE_BY}` trains it"
        )
    deps = {dep["path"]: dep["md5"] for dep in lock[f"train@{model}"]["deps"]}
    entry = settings[f"models.{model}"]
    return fingerprint(model, entry, settings["train"], seed, deps)


def out_md5(stage: str, path: str, lock: Mapping[str, Any]) -> str | None:
    """The MD5 that DVC gave to an out of a stage; None if dvc.lock does not hold it.

    Args:
        stage: Such as `prepare` or `train@vae`.
        path: The out as dvc.yaml names it.
        lock: What `read_lock` returned.
    """
    for out in (lock.get(stage) or {}).get("outs", []):
        if out["path"] == path:
            md5: str = out["md5"]
            return md5
    return None
