"""Small networks of every architecture, and inputs for them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genmodels import networks
from genmodels.networks.blocks import NetworkOptions, draw_weights
from genmodels.networks.shape import ImageShape

SHAPES = [
    ImageShape(1, 8, 8),
    ImageShape(3, 8, 11),
    ImageShape(1, 28, 28),
    ImageShape(3, 33, 20),
    ImageShape(1, 65, 128),
]


ODD = ImageShape(3, 9, 14)


ALL = list(networks.ARCHITECTURES)


NO_RNN = [name for name in ALL if name != "rnn"]


every_architecture = pytest.mark.parametrize("architecture", ALL)


def options(**changes: Any) -> NetworkOptions:
    plain = {"width": 5, "depth": 2, "head_width": 6, "head_depth": 0}
    rest = {"norm": "none", "dropout": 0.0, "activation": "leaky_relu"}
    return NetworkOptions(**(plain | rest | changes))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    draw_weights(network, rng(seed))
    return network


def pictures(shape: ImageShape, n: int = 3) -> Tensor:
    return torch.rand(n, *shape, generator=rng(9))


def all_four(architecture: str, shape: ImageShape, **changes: Any) -> list[nn.Module]:
    """The four networks of an architecture, without spectral norm."""
    how = options(**changes)
    return [
        drawn(networks.downward(architecture, shape, 4, how)),
        drawn(networks.upward(architecture, 4, shape, how)),
        drawn(networks.to_grid(architecture, shape, 2, how)),
        drawn(networks.from_grid(architecture, 2, shape, how)),
    ]


def inputs(shape: ImageShape) -> list[Tensor]:
    """The inputs of the networks of `all_four`."""
    rows, columns = networks.grid_size(shape)
    x = pictures(shape)
    return [x, torch.randn(3, 4, generator=rng(1)), x, torch.randn(3, rows * columns, 2)]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
