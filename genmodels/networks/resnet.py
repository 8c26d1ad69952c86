"""Residual networks: blocks with average pooling, and blocks with bilinear upsampling back.

The sums of the skip connections have an activation only at the end of a resolution (He et al. 2016,
arXiv 1603.05027).
"""

import torch
from torch import Tensor, nn

from genmodels.networks.architecture import grid_channels, num_levels
from genmodels.networks.blocks import NetworkOptions, activated, hidden
from genmodels.networks.shape import ImageShape


class _Residual(nn.Module):
    """skip(x) + branch(x)."""

    def __init__(self, skip: nn.Module, branch: nn.Module) -> None:
        super().__init__()
        self.skip, self.branch = skip, branch

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return self.skip(x) + self.branch(x)


def down(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from images (N, C, H, W) to features on the grid."""
    channels = options.width
    layers = hidden(_convolution(shape.channels, channels, 3), channels, options)
    for level in range(num_levels(shape)):
        outputs = options.width * 2**level
        layers += _blocks(channels, outputs, options)
        # With ceil_mode the last row or column of an odd side has a pool of its own.
        layers.append(nn.AvgPool2d(2, ceil_mode=True))
        channels = outputs
    return layers


def up(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from features on the grid to raw images."""
    layers: list[nn.Module] = []
    channels = grid_channels(shape, options)
    for level in reversed(range(num_levels(shape))):
        outputs = options.width * 2 ** max(level - 1, 0)
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        layers += _blocks(channels, outputs, options)
        channels = outputs
    return [*layers, _convolution(channels, shape.channels, 3)]


def _blocks(inputs: int, outputs: int, options: NetworkOptions) -> list[nn.Module]:
    """The `depth` residual blocks at one resolution; the first changes the channels."""
    layers: list[nn.Module] = []
    for number in range(options.depth):
        skip = nn.Identity() if inputs == outputs else _convolution(inputs, outputs, 1)
        branch = nn.Sequential(
            # The input from another resolution already has its activation.
            *(activated(inputs, options, dense=False) if number else []),
            *hidden(_convolution(inputs, outputs, 3), outputs, options),
            _convolution(outputs, outputs, 3),
        )
        layers.append(_Residual(skip, branch))
        inputs = outputs
    return [*layers, *activated(outputs, options, dense=False)]


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2)
    # Reduces the time of a training step on a CPU by a third (at 28 x 28 and 32 x 32).
    nn.utils.convert_conv2d_weight_memory_format(convolution, torch.channels_last)
    return convolution
