"""Reads a folder of pictures from any program, for the command `score`.

Pictures are not resized, cropped or converted to grey, which would change the measured values.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from pipelines.data import datasets
from pipelines.settings.errors import UserError


def read_folder(name: str, option: str, seed: int, most: int | None = None) -> torch.Tensor:
    """Reads pictures of a folder and its subfolders as (N, C, H, W) in [0, 1].

    The order is random by `seed`, because folders are often sorted by class; `most` limits the
    number of pictures (default: all). `option` names the folder in an error.

    Raises:
        UserError: The folder is missing or has no pictures, or the pictures differ in shape.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"{option}: {name}: no such folder")
    pictures = sorted(path for path in folder.rglob("*") if datasets.is_picture(path, folder))
    if not pictures:
        allowed = ", ".join(sorted(datasets.SUFFIXES))
        raise UserError(f"{option}: {name}: no picture in it ({allowed})")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    chosen = [pictures[index] for index in order[:most].tolist()]
    bar = tqdm(chosen, desc=f"reading {name}", unit="file", disable=not sys.stderr.isatty())
    arrays: list[npt.NDArray[np.uint8]] = []
    for path in bar:
        array = datasets.read_full_size(path)
        if arrays and array.shape != arrays[0].shape:
            raise UserError(
                f"{path}: {shape_text(array.shape)}, but {chosen[0].name} is "
                f"{shape_text(arrays[0].shape)}; all pictures of a folder need the same shape"
            )
        arrays.append(array)
    return torch.from_numpy(np.stack(arrays)).to(torch.float32).div_(255)


def shape_text(shape: Sequence[int]) -> str:
    """A shape (C, H, W) as text: `28x28 grey`."""
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"
