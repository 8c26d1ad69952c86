"""Files of tensors in the safetensors format: numbers and a JSON header, no code to execute."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pipelines.settings import files

# A single key: safetensors writes several keys in no fixed order.
_SETTINGS = "settings"


def write(
    path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any] | None = None
) -> None:
    """Writes tensors; equal tensors and settings give equal bytes.

    Args:
        path: The file; a missing folder is created.
        tensors: Tensors of any device, layout and dtype; they may share memory.
        settings: JSON values for the header.
    """
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = {_SETTINGS: json.dumps(dict(settings or {}), sort_keys=True, allow_nan=False)}
    files.write_bytes(path, save(plain, header))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads tensors (on the CPU) and the settings of the header.

    Raises:
        ValueError: The file is missing, damaged or in another format.
    """
    try:
        content = path.read_bytes()
        # Copies, in memory that torch aligns, so that sums do not depend on the place in the file.
        tensors = {name: tensor.clone() for name, tensor in load(content).items()}
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        return tensors, json.loads(header[_SETTINGS])
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (SafetensorError, OSError, LookupError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable safetensors file ({reason})") from None
