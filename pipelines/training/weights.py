"""A trained model as files, which nothing unpickles: weights.safetensors, config.json beside it.

weights.safetensors holds the state of the model that samples: its parameters (averaged where the
settings say so), codebook, mixture and statistics. config.json says which model to build.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from genmodels.base.model import GenerativeModel
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.cost import num_parameters
from pipelines.data import tensor_file
from pipelines.settings import files
from pipelines.settings.errors import UserError

MADE_BY = "dvc repro"
WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
SNAPSHOTS = "snapshots.safetensors"


def write_model(
    folder: Path, model: GenerativeModel, entry: Mapping[str, Any], card: Mapping[str, Any]
) -> None:
    """Writes weights.safetensors and config.json.

    Args:
        folder: It is made where it is missing.
        model: The trained model.
        entry: The settings that build it.
        card: What else config.json says of the training.
    """
    tensor_file.write(folder / WEIGHTS, model.state_dict())
    config = {
        **card,
        "kind": model.config.kind,
        "settings": dict(entry),
        "image_shape": list(model.shape),
        "num_classes": model.num_classes,
        "num_parameters": num_parameters(model),
    }
    files.write_json(folder / CONFIG, config)


def read_model(folder: Path, made_by: str, device: str = "cpu") -> GenerativeModel:
    """A trained model, in evaluation mode, from the folder of its training.

    Args:
        folder: Holds weights.safetensors and config.json.
        made_by: The command that makes them, for an error.
        device: `cpu` or `cuda`.

    Raises:
        UserError: A file is missing, damaged, or of another version of the code.
    """
    tensors = _tensors(folder / WEIGHTS, made_by)
    config = files.read_json(folder / CONFIG, made_by)
    file = CONFIG
    try:
        shape = ImageShape(*config["image_shape"])
        model = build(config["settings"], shape, config["num_classes"])
        file = WEIGHTS
        model.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError):  # torch writes a line a weight
        raise UserError(
            f"{folder / file}: a model of another version of the code; `{made_by}` makes it anew"
        ) from None
    return model.to(device).eval()


def write_snapshots(folder: Path, snapshots: Mapping[int, Tensor]) -> None:
    """Writes the samples that a training kept, (N, C, H, W) uint8 by step."""
    tensor_file.write(folder / SNAPSHOTS, {str(step): x for step, x in snapshots.items()})


def read_snapshots(folder: Path, made_by: str) -> dict[int, Tensor]:
    """The samples that a training kept, (N, C, H, W) uint8 by step, in the order of the steps.

    Args:
        folder: The folder of the training.
        made_by: The command that makes it, for an error.

    Raises:
        UserError: The file is missing or damaged.
    """
    tensors = _tensors(folder / SNAPSHOTS, made_by)
    return {step: tensors[str(step)] for step in sorted(map(int, tensors))}


def _tensors(path: Path, made_by: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; `{made_by}` makes it")
    try:
        return tensor_file.read(path)[0]
    except ValueError as error:
        raise UserError(f"{error}; `{made_by}` makes it anew") from None
