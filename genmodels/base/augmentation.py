"""Differentiable augmentations of the discriminator's input."""

import torch
from torch import Tensor

#: Largest shift and side of the hole, as fractions of the image's sides.
MAX_SHIFT, HOLE = 1 / 8, 1 / 2


def diffaugment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Translation, then cutout, drawn for each image (Zhao et al. 2020, arXiv 2006.10738).

    Both fill with zero, the middle of the range. A fill with the background colour would be
    invisible, so the discriminator could not recognise an augmented image, and the generator would
    learn shifted images.

    Args:
        x: (N, C, H, W) in [-1, 1], real or generated.
        rng: Source of the shifts and of the holes' positions.

    Returns:
        The same shape; linear in `x`, differentiable any number of times.
    """
    return cutout(translate(x, rng), rng)


def translate(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shifts each image (N, C, H, W) by whole pixels, at most an eighth of each side."""
    height, width = x.shape[2:]
    down = _shift_matrices(len(x), height, rng, x.device)
    right = _shift_matrices(len(x), width, rng, x.device)
    # Reduced precision would round the pixels, although the matrices hold only zeros and ones.
    with torch.autocast(x.device.type, enabled=False):
        return down @ x.float() @ right.mT


def cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Sets a rectangle with half the sides of each image (N, C, H, W) to zero.

    The centre is any pixel, so the rectangle may extend beyond the image.
    """
    height, width = x.shape[2:]
    rows = _hidden(len(x), height, rng).unsqueeze(2)
    columns = _hidden(len(x), width, rng).unsqueeze(1)
    return x * (~(rows & columns)).unsqueeze(1).to(x)


def _shift_matrices(num: int, side: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """(num, 1, side, side): row i of a matrix selects pixel i - shift, or no pixel."""
    largest = round(MAX_SHIFT * side)
    shift = torch.randint(-largest, largest + 1, (num, 1, 1), generator=rng, device=rng.device)
    position = torch.arange(side, device=rng.device)
    selected = position[:, None] - position[None, :] == shift
    return selected.unsqueeze(1).float().to(device)


def _hidden(num: int, side: int, rng: torch.Generator) -> Tensor:
    """(num, side): whether the hole covers a position along a side."""
    hole = round(HOLE * side)
    start = torch.randint(side, (num, 1), generator=rng, device=rng.device) - hole // 2
    position = torch.arange(side, device=rng.device)
    return (position >= start) & (position < start + hole)
