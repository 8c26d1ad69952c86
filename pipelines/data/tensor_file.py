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
from pipelines.settings.errors import UserError

# A single key: safetensors writes several keys in no fixed order.
_SETTINGS = "settings"


def write(
    path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any] | None = None
) -> None:
    """Writes tensors and settings (JSON values); equal content gives equal bytes.

    The tensors can have any device, layout and dtype and share memory. A missing folder is created.
    """
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = {_SETTINGS: json.dumps(dict(settings or {}), sort_keys=True, allow_nan=False)}
    files.write_bytes(path, save(plain, header))


def read(path: Path, made_by: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads tensors (on the CPU) and settings; `made_by` is the command that makes the file.

    Raises:
        UserError: The file is missing, damaged or in another format.
    """
    try:
        content = path.read_bytes()
        # Copies, in memory that torch aligns, so that sums do not depend on the place in the file.
        tensors = {name: tensor.clone() for name, tensor in load(content).items()}
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        return tensors, json.loads(header[_SETTINGS])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except (SafetensorError, OSError, LookupError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: not a readable safetensors file ({reason}); `{made_by}` makes it again"
        ) from None
