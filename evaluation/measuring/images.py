"""Rounding to 8 bits, applied to both sides of every comparison of images.

Real images come from uint8 and stay unchanged. Generated images are rounded, not truncated:
truncation lowers a quarter of the values by one level if the images have been in [-1, 1].
"""

import torch
from torch import Tensor

#: Part of an extractor's identity, because features depend on the preprocessing of the pixels.
PREPROCESSING_VERSION = 1

#: Variance of the rounding to 8 bits: the smallest meaningful error of a reconstruction.
ROUNDING_MSE = 1 / (12 * 255**2)


def to_uint8(x: Tensor) -> Tensor:
    """Rounds images to 8 bits.

    Args:
        x: Any shape, finite, in [0, 1]; values outside are clamped.

    Raises:
        ValueError: A pixel is NaN or infinite.
    """
    if not torch.isfinite(x).all():
        raise ValueError("a pixel is NaN or infinite")
    return x.clamp(0, 1).mul(255).round().to(torch.uint8)


def quantise(x: Tensor) -> Tensor:
    """round(clamp(x, 0, 1) * 255) / 255 as float32; see `to_uint8`."""
    return to_uint8(x).to(torch.float32).div_(255)
