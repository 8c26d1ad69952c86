"""Eight bits: the one step that both sides of every comparison of images pass through.

Real images come from uint8 and pass unchanged; generated ones are rounded, never truncated:
truncation loses a level on a quarter of the values once the images have been in [-1, 1].
"""

import torch
from torch import Tensor

#: Part of an extractor's identity: a change of what happens to pixels makes other features.
PREPROCESSING_VERSION = 1

#: The variance that rounding to 8 bits adds: no reconstruction of an 8-bit image is better.
ROUNDING_MSE = 1 / (12 * 255**2)


def to_uint8(x: Tensor) -> Tensor:
    """Rounds images to 8 bits.

    Args:
        x: Any shape, finite, meant to be in [0, 1]; what lies outside is clamped.

    Raises:
        ValueError: A pixel is NaN or infinite, which is a failure and no colour.
    """
    if not torch.isfinite(x).all():
        raise ValueError("a pixel is NaN or infinite")
    return x.clamp(0, 1).mul(255).round().to(torch.uint8)


def quantise(x: Tensor) -> Tensor:
    """round(clamp(x, 0, 1) * 255) / 255 as float32; see `to_uint8`."""
    return to_uint8(x).to(torch.float32).div_(255)
