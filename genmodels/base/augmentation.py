"""Augmentations of what the discriminator sees, through which gradients reach the generator."""

import torch
from torch import Tensor

#: The largest shift and the side of the hole as fractions of the image's sides.
MAX_SHIFT, HOLE = 1 / 8, 1 / 2


def diffaugment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Translation, then cutout, drawn anew for each image (Zhao et al. 2020, arXiv 2006.10738).

    Both fill in zero, the middle of the range: an edge of background colour would be no sign of an
    augmentation, and generated images would come out shifted.

    Args:
        x: (N, C, H, W) in [-1, 1], real or generated.
        rng: The source of shifts and places.

    Returns:
        The same shape; linear in `x`, differentiable any number of times.
    """
    return cutout(translate(x, rng), rng)


def translate(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shifts each image (N, C, H, W) by whole pixels, at most an eighth of each side."""
    height, width = x.shape[2:]
    down = _shift_matrices(len(x), height, rng, x.device)
    right = _shift_matrices(len(x), width, rng, x.device)
    # In reduced precision a product with ones and zeros would still round the pixels.
    with torch.autocast(x.device.type, enabled=False):
        return down @ x.float() @ right.mT


def cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Puts to zero a rectangle of half the sides in each image (N, C, H, W).

    Its centre is any pixel, so that parts of it may lie outside.
    """
    height, width = x.shape[2:]
    rows = _hidden(len(x), height, rng).unsqueeze(2)
    columns = _hidden(len(x), width, rng).unsqueeze(1)
    return x * (~(rows & columns)).unsqueeze(1).to(x)


def _shift_matrices(num: int, side: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """(num, 1, side, side): row i of a matrix picks pixel i - shift, or none."""
    largest = round(MAX_SHIFT * side)
    shift = torch.randint(-largest, largest + 1, (num, 1, 1), generator=rng, device=rng.device)
    place = torch.arange(side, device=rng.device)
    picked = place[:, None] - place[None, :] == shift
    return picked.unsqueeze(1).float().to(device)


def _hidden(num: int, side: int, rng: torch.Generator) -> Tensor:
    """(num, side): which places of a side the hole covers."""
    hole = round(HOLE * side)
    start = torch.randint(side, (num, 1), generator=rng, device=rng.device) - hole // 2
    place = torch.arange(side, device=rng.device)
    return (place >= start) & (place < start + hole)
