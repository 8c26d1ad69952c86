"""Reads the prepared images as float32 (N, C, H, W) in [0, 1]."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.settings import files, paths
from pipelines.settings.errors import UserError

SPLITS = ("train", "valid", "test")
MADE_BY = "dvc repro prepare"


@dataclass(frozen=True)
class Split:
    """One split in memory: `images` (N, C, H, W) float32 in [0, 1], `labels` (N,) int64 or None."""

    images: torch.Tensor
    labels: torch.Tensor | None


def load_manifest(folder: Path | None = None) -> dict[str, Any]:
    """The manifest: data set, image shape, classes, and each split's count and SHA-256.

    `folder` is an output folder of `prepare` (default: that of the pipeline).
    """
    manifest: dict[str, Any] = files.read_json((folder or paths.PREPARE) / "manifest.json", MADE_BY)
    return manifest


def load_split(name: str, folder: Path | None = None) -> Split:
    """Reads `train`, `valid` or `test` from an output folder of `prepare` (default: its own).

    Raises:
        UserError: The stage has not run, or a file is damaged.
    """
    folder = folder or paths.PREPARE
    images = torch.from_numpy(_read(folder / f"{name}.npy")).to(torch.float32).div_(255)
    labels = folder / f"{name}_labels.npy"
    return Split(images, torch.from_numpy(_read(labels)) if labels.is_file() else None)


def _read(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{MADE_BY}` makes it") from None
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); `{MADE_BY}` makes it again") from None
    return array
