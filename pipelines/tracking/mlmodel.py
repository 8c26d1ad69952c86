"""The folder of a run that MLflow takes for a model: weights, and a text that says who reads them.

No pickle and no code lies in it: `loader_module` names a module of this project, which has to be
installed where the model is loaded. Knows neither torch nor MLflow.
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
WEIGHTS = f"{FOLDER}/weights.pt"

LOADER = "pipelines.trained.served_model"


def describe(config: Mapping[str, Any], digest: str) -> str:
    """The content of `MLmodel`, as JSON, which is YAML.

    All models take the same table: a column that a model cannot serve is refused by the loader,
    which says why. MLflow drops columns that a signature does not name, without a word.

    Args:
        config: A training's config.json.
        digest: The SHA-256 of its weights.pt.
    """
    pixels: dict[str, Any] = {"type": "double"}
    for _ in config["image_shape"]:
        pixels = {"type": "array", "items": pixels}
    inputs = [
        {"type": "long", "name": "seed", "required": False},
        {"type": "long", "name": "label", "required": False},
        pixels | {"name": "image", "required": False},
    ]
    outputs = [
        {
            "type": "tensor",
            "tensor-spec": {"dtype": "float32", "shape": [-1, *config["image_shape"]]},
        }
    ]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    content = {
        "flavors": {"python_function": {"loader_module": LOADER, "python_version": python}},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
        "metadata": {
            "model": config["model"],
            "kind": config["kind"],
            "family": config["family"],
            "seed": config["seed"],
            "sha256": digest,
        },
    }
    return json.dumps(content, indent=2) + "\n"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(weights: Path, digest: str, name: str, remedy: str) -> None:
    """Refuses weights that are not the published ones.

    Args:
        weights: The file.
        digest: The SHA-256 that it should have.
        name: What the user knows it by.
        remedy: What makes it anew.

    Raises:
        UserError: Their SHA-256 is another one.
    """
    found = sha256(weights)
    if found != digest:
        raise UserError(
            f"{name}: refused, these are not the weights that were published (SHA-256 "
            f"{found[:12]}..., expected {digest[:12]}...); {remedy}"
        )
