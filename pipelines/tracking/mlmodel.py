"""The artifacts of a run that make it a model of MLflow: weights, settings, file `MLmodel`.

They contain neither pickle nor code: `loader_module` names a module of this project, which has to
be installed where the model is loaded. Imports neither torch nor MLflow.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.settings.errors import UserError

#: The artifacts of a run that make it a model; MLflow fixes the second name.
FOLDER = "model"
DESCRIPTION = f"{FOLDER}/MLmodel"
#: The files that decide the model, by the key of their published SHA-256.
FILES = {"sha256": "weights.safetensors", "config_sha256": "config.json"}

LOADER = "pipelines.trained.served_model"


def describe(config: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """The content of `MLmodel` from a training's config.json and `hash_files`, as JSON (= YAML).

    All models have the same columns: the loader refuses a column that a model cannot serve, with
    the reason. MLflow would drop a column that is not in the signature without a message.
    """
    pixels: dict[str, Any] = {"type": "double"}
    for _ in config["image_shape"]:
        pixels = {"type": "array", "items": pixels}
    inputs = [
        {"type": "long", "name": "seed", "required": False},
        {"type": "long", "name": "label", "required": False},
        pixels | {"name": "image", "required": False},
    ]
    images = {"dtype": "float32", "shape": [-1, *config["image_shape"]]}
    outputs = [{"type": "tensor", "tensor-spec": images}]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    content = {
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": python}},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
        "metadata": {key: config[key] for key in ("model", "kind", "family", "seed")} | {**digests},
    }
    return json.dumps(content, indent=2) + "\n"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of the files that decide the model in a folder, by the keys of `FILES`."""
    return {key: sha256(folder / name) for key, name in FILES.items()}


def check(folder: Path, published: Mapping[str, str], name: str, remedy: str) -> None:
    """Refuses a model whose files in a folder are not the published ones, by the keys of `FILES`.

    `name` is the model's name for the user, `remedy` how to make the files again.

    Raises:
        UserError: A file is missing, or its SHA-256 differs or was not published.
    """
    for key, file in FILES.items():
        if not (folder / file).is_file():
            raise UserError(f"{name}: refused, {file} is missing; {remedy}")
        digest, expected = sha256(folder / file), published.get(key, "unknown")
        if digest != expected:
            raise UserError(
                f"{name}: refused, {file} is not the published one (SHA-256 "
                f"{digest[:12]}..., expected {expected[:12]}...); {remedy}"
            )
