"""A trained model as files without pickle: weights.safetensors and config.json.

weights.safetensors contains the state of the model for sampling: parameters (averaged if the
settings use EMA), codebook, mixture and statistics. config.json contains the settings of the model.
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
    """Writes weights.safetensors and config.json of a trained model.

    `entry` are the settings that build it, `card` further entries of config.json.
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
    """Reads a trained model, in evaluation mode, from the folder of its training.

    Raises:
        UserError: A file (which the command `made_by` makes) is missing, damaged or outdated.
    """
    tensors, _ = tensor_file.read(folder / WEIGHTS, made_by)
    config = files.read_json(folder / CONFIG, made_by)
    file = CONFIG
    try:
        shape = ImageShape(*config["image_shape"])
        model = build(config["settings"], shape, config["num_classes"])
        file = WEIGHTS
        model.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError):  # torch: one line per weight
        raise UserError(
            f"{folder / file}: a model of another version of the code; `{made_by}` makes it again"
        ) from None
    return model.to(device).eval()


def write_snapshots(folder: Path, snapshots: Mapping[int, Tensor]) -> None:
    """Writes the snapshots of a training: for each step (N, C, H, W) uint8 samples."""
    tensor_file.write(folder / SNAPSHOTS, {str(step): x for step, x in snapshots.items()})


def read_snapshots(folder: Path, made_by: str) -> dict[int, Tensor]:
    """Reads the snapshots of a training, in the order of the steps; `made_by` is its command.

    Raises:
        UserError: The file is missing or damaged.
    """
    tensors, _ = tensor_file.read(folder / SNAPSHOTS, made_by)
    return {step: tensors[str(step)] for step in sorted(map(int, tensors))}
