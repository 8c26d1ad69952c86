"""Convolutional networks: strided convolutions down, strided transposed convolutions up.

Two halvings up to 64 pixels a side, one more above; the channels double with each. Sides that are
no multiple of the total stride are rounded up and the output is cropped. Between the vector and the
convolutions there may be a head of fully connected layers.
"""

import math

from torch import Tensor, nn

from genmodels.networks.blocks import NetworkOptions, fully_connected, hidden
from genmodels.shape import ImageShape


class Crop(nn.Module):
    """Keeps the top left H x W of an image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, >=H, >=W) to (N, C, H, W)."""
        return x[..., : self.height, : self.width]


def downward(shape: ImageShape, num_outputs: int, options: NetworkOptions) -> nn.Sequential:
    """Images (N, C, H, W) to (N, num_outputs): encoders and discriminators."""
    layers: list[nn.Module] = []
    channels, height, width = shape
    for level in range(_num_levels(shape)):
        after = options.width * 2**level
        layers += hidden(nn.Conv2d(channels, after, 4, stride=2, padding=1), after, options)
        layers += _refine(after, options)
        channels, height, width = after, height // 2, width // 2
    flat = channels * height * width
    head = fully_connected(flat, options.head_width, options.head_depth, options)
    last = nn.Linear(options.head_width if options.head_depth else flat, num_outputs)
    return nn.Sequential(*layers, nn.Flatten(), *head, last)


def upward(num_inputs: int, shape: ImageShape, options: NetworkOptions) -> nn.Sequential:
    """(N, num_inputs) to raw images (N, C, H, W): decoders and generators."""
    levels = _num_levels(shape)
    height, width = (math.ceil(side / 2**levels) for side in (shape.height, shape.width))
    channels = options.width * 2 ** (levels - 1)
    flat = channels * height * width
    layers = fully_connected(num_inputs, options.head_width, options.head_depth, options)
    stem = nn.Linear(options.head_width if options.head_depth else num_inputs, flat)
    layers += hidden(stem, flat, options)
    layers.append(nn.Unflatten(1, (channels, height, width)))
    for level in reversed(range(levels - 1)):
        after = options.width * 2**level
        layers += _refine(channels, options)
        up = nn.ConvTranspose2d(channels, after, 4, stride=2, padding=1)
        layers += hidden(up, after, options)
        channels = after
    layers += _refine(channels, options)
    last = nn.ConvTranspose2d(channels, shape.channels, 4, stride=2, padding=1)
    return nn.Sequential(*layers, last, Crop(shape.height, shape.width))


def _refine(channels: int, options: NetworkOptions) -> list[nn.Module]:
    """The `depth - 1` further convolutions at one resolution."""
    layers: list[nn.Module] = []
    for _ in range(options.depth - 1):
        layers += hidden(nn.Conv2d(channels, channels, 3, padding=1), channels, options)
    return layers


def _num_levels(shape: ImageShape) -> int:
    return 2 if max(shape.height, shape.width) <= 64 else 3
