"""Convolutional networks: strided convolutions, and strided transposed convolutions back."""

from itertools import pairwise

from torch import nn

from genmodels.networks.architecture import grid_channels, grid_size, num_levels
from genmodels.networks.blocks import NetworkOptions, hidden
from genmodels.networks.shape import ImageShape


def down(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from images (N, C, H, W) to features on the grid."""
    stride = 2 ** num_levels(shape)
    rows, columns = grid_size(shape)
    padding = (0, columns * stride - shape.width, 0, rows * stride - shape.height)
    layers: list[nn.Module] = [nn.ZeroPad2d(padding)] if any(padding) else []
    widths = [options.width * 2**level for level in range(num_levels(shape))]
    for inputs, outputs in pairwise([shape.channels, *widths]):
        layers += hidden(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), outputs, options)
        layers += _refine(outputs, options)
    return layers


def up(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from features on the grid to raw images."""
    layers: list[nn.Module] = []
    channels = grid_channels(shape, options)
    for level in reversed(range(num_levels(shape) - 1)):
        outputs = options.width * 2**level
        layers += _refine(channels, options)
        layers += hidden(_doubling(channels, outputs), outputs, options)
        channels = outputs
    return [*layers, *_refine(channels, options), _doubling(channels, shape.channels)]


def _doubling(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


def _refine(channels: int, options: NetworkOptions) -> list[nn.Module]:
    """`depth - 1` convolutions at one resolution."""
    layers: list[nn.Module] = []
    for _ in range(options.depth - 1):
        layers += hidden(nn.Conv2d(channels, channels, 3, padding=1), channels, options)
    return layers
