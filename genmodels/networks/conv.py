"""Convolutional networks: strided convolutions down, strided transposed convolutions up."""

from itertools import pairwise

from torch import nn

from genmodels.networks.architecture import grid_channels, grid_size, num_levels
from genmodels.networks.blocks import NetworkOptions, hidden
from genmodels.networks.shape import ImageShape


def down(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from images (N, C, H, W) to the grid's features."""
    stride = 2 ** num_levels(shape)
    rows, columns = grid_size(shape)
    surplus = (0, columns * stride - shape.width, 0, rows * stride - shape.height)
    layers: list[nn.Module] = [nn.ZeroPad2d(surplus)] if any(surplus) else []
    widths = [options.width * 2**level for level in range(num_levels(shape))]
    for before, after in pairwise([shape.channels, *widths]):
        layers += hidden(nn.Conv2d(before, after, 4, stride=2, padding=1), after, options)
        layers += _refine(after, options)
    return layers


def up(shape: ImageShape, options: NetworkOptions) -> list[nn.Module]:
    """The layers from the grid's features to raw images."""
    layers: list[nn.Module] = []
    channels = grid_channels(shape, options)
    for level in reversed(range(num_levels(shape) - 1)):
        after = options.width * 2**level
        layers += _refine(channels, options)
        layers += hidden(_doubling(channels, after), after, options)
        channels = after
    return [*layers, *_refine(channels, options), _doubling(channels, shape.channels)]


def _doubling(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)


def _refine(channels: int, options: NetworkOptions) -> list[nn.Module]:
    """The `depth - 1` further convolutions at one resolution."""
    layers: list[nn.Module] = []
    for _ in range(options.depth - 1):
        layers += hidden(nn.Conv2d(channels, channels, 3, padding=1), channels, options)
    return layers
