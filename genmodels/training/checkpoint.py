"""Resume checkpoints: torch files, read with `weights_only=True`, which runs no code from them.

They exist for the minutes of a training: each is deleted when its training is complete. What a
training leaves behind is safetensors and JSON.
"""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint beside its place and renames it, so that a kill leaves the old one.

    Equal states give equal bytes: torch writes the file's name into the file unless it is handed a
    buffer.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(buffer.getbuffer())
    temporary.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, its tensors onto the CPU.

    Raises:
        ValueError: The file is no checkpoint of tensors and plain values.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint of plain tensors ({reason})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint of plain tensors ({type(state).__name__})")
    return state
