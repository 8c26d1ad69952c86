"""The two sorts of architecture, and what each makes of the same four requests.

A convolutional one is a pair of trunks between the image and a grid of features; what turns
features into numbers and numbers into features is the same for all of them. A dense one makes
numbers directly, and a grid by arranging them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from genmodels.networks.blocks import NetworkOptions, fully_connected, hidden
from genmodels.networks.shape import ImageShape


def num_levels(shape: ImageShape) -> int:
    """Halvings between the image and the grid: two up to 64 pixels a side, three above."""
    return 2 if max(shape.height, shape.width) <= 64 else 3


def grid_size(shape: ImageShape) -> tuple[int, int]:
    """Rows and columns of the grid: the image's, halved at every level and rounded up."""
    stride = 2 ** num_levels(shape)
    return math.ceil(shape.height / stride), math.ceil(shape.width / stride)


@dataclass(frozen=True)
class Dense:
    """An architecture that ends and begins in a vector.

    Attributes:
        downward: (shape, num_outputs, options) to a network from images to (N, num_outputs).
        upward: (num_inputs, shape, options) to a network from (N, num_inputs) to raw images.
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
    """An architecture with a trunk between the image and a grid of hidden features.

    The features are (N, `grid_channels`, *`grid_size`) and activated. Between a vector and them may
    be a head of fully connected layers.

    Attributes:
        down: The layers from images to features.
        up: The layers from features to raw images, at least H x W; the surplus is cropped.
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
        """Images (N, C, H, W) to (N, positions, channels), row by row; no fully connected layer."""
        last = nn.Conv2d(grid_channels(shape, options), channels, 1)
        return nn.Sequential(*self.down(shape, options), last, nn.Flatten(2), _Swap())

    def from_grid(self, channels: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
        """(N, positions, channels) to raw images (N, C, H, W); no fully connected layer."""
        features = grid_channels(shape, options)
        return nn.Sequential(
            _Swap(),
            nn.Unflatten(2, grid_size(shape)),
            *hidden(nn.Conv2d(channels, features, 3, padding=1), features, options),
            *self.up(shape, options),
            _Crop(shape.height, shape.width),
        )


def grid_channels(shape: ImageShape, options: NetworkOptions) -> int:
    """Channels of the hidden features: `width` after the first halving, doubled by each further."""
    return options.width * 2 ** (num_levels(shape) - 1)


class _Crop(nn.Module):
    """Keeps the top left H x W of an image."""

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
