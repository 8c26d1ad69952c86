"""The two types of architecture; each builds four networks: image to vector or grid, and back.

A convolutional architecture defines the layers between an image and a grid of features; the layers
between features and a vector are shared. A dense architecture maps an image to a vector, and
reshapes a vector to a grid.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from genmodels.networks.blocks import NetworkOptions, fully_connected, hidden
from genmodels.networks.shape import ImageShape


def num_levels(shape: ImageShape) -> int:
    """Number of halvings between image and grid: 2 for sides up to 64 pixels, 3 above."""
    return 2 if max(shape.height, shape.width) <= 64 else 3


def grid_size(shape: ImageShape) -> tuple[int, int]:
    """Rows and columns of the grid: the image's sides / 2^levels, rounded up."""
    stride = 2 ** num_levels(shape)
    return math.ceil(shape.height / stride), math.ceil(shape.width / stride)


@dataclass(frozen=True)
class Dense:
    """An architecture without a spatial grid.

    Attributes:
        downward: Builds a network from images to (N, num_outputs); arguments shape, num_outputs,
            options.
        upward: Builds a network from (N, num_inputs) to raw images; arguments num_inputs, shape,
            options.
    """

    downward: Callable[[ImageShape, int, NetworkOptions], nn.Module]
    upward: Callable[[int, ImageShape, NetworkOptions], nn.Module]

    def to_grid(self, shape: ImageShape, channels: int, options: NetworkOptions) -> nn.Module:
        """Images (N, C, H, W) to (N, positions, channels)."""
        positions = math.prod(grid_size(shape))
        down = self.downward(shape, positions * channels, options)
        return nn.Sequential(down, nn.Unflatten(1, (positions, channels)))

    def from_grid(self, channels: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
        """(N, positions, channels) to raw images (N, C, H, W)."""
        num_inputs = math.prod(grid_size(shape)) * channels
        return nn.Sequential(nn.Flatten(), self.upward(num_inputs, shape, options))


@dataclass(frozen=True)
class Convolutional:
    """An architecture with a grid of hidden features.

    The features are (N, `grid_channels`, *`grid_size`), after the activation. `head_depth` fully
    connected layers stand between the features and a vector.

    Attributes:
        down: Builds the layers from images to features.
        up: Builds the layers from features to raw images of at least H x W, which are cropped.
    """

    down: Callable[[ImageShape, NetworkOptions], list[nn.Module]]
    up: Callable[[ImageShape, NetworkOptions], list[nn.Module]]

    def downward(self, shape: ImageShape, num_outputs: int, options: NetworkOptions) -> nn.Module:
        """Images (N, C, H, W) to (N, num_outputs)."""
        flat = grid_channels(shape, options) * math.prod(grid_size(shape))
        head = fully_connected(flat, options.head_width, options.head_depth, options)
        last = nn.Linear(options.head_width if options.head_depth else flat, num_outputs)
        return nn.Sequential(*self.down(shape, options), nn.Flatten(), *head, last)

    def upward(self, num_inputs: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
        """(N, num_inputs) to raw images (N, C, H, W)."""
        channels, grid = grid_channels(shape, options), grid_size(shape)
        flat = channels * math.prod(grid)
        head = fully_connected(num_inputs, options.head_width, options.head_depth, options)
        stem = nn.Linear(options.head_width if options.head_depth else num_inputs, flat)
        return nn.Sequential(
            *head,
            *hidden(stem, flat, options),
            nn.Unflatten(1, (channels, *grid)),
            *self.up(shape, options),
            _Crop(shape.height, shape.width),
        )

    def to_grid(self, shape: ImageShape, channels: int, options: NetworkOptions) -> nn.Module:
        """Images (N, C, H, W) to (N, positions, channels) in row-major order, without a head."""
        last = nn.Conv2d(grid_channels(shape, options), channels, 1)
        return nn.Sequential(*self.down(shape, options), last, nn.Flatten(2), _Swap())

    def from_grid(self, channels: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
        """(N, positions, channels) to raw images (N, C, H, W), without a head."""
        features = grid_channels(shape, options)
        return nn.Sequential(
            _Swap(),
            nn.Unflatten(2, grid_size(shape)),
            *hidden(nn.Conv2d(channels, features, 3, padding=1), features, options),
            *self.up(shape, options),
            _Crop(shape.height, shape.width),
        )


def grid_channels(shape: ImageShape, options: NetworkOptions) -> int:
    """Channels of the hidden features: `width`, doubled at every halving after the first."""
    return options.width * 2 ** (num_levels(shape) - 1)


class _Crop(nn.Module):
    """Crops an image to its top left H x W."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, >=H, >=W) to (N, C, H, W)."""
        return x[..., : self.height, : self.width]


class _Swap(nn.Module):
    """Swaps positions and channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, a, b) to (N, b, a)."""
        return x.transpose(1, 2)
