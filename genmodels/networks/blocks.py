"""What the architectures share: options, dropout with its own noise, weight initialisation."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["none", "batch"]


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is built.

    Attributes:
        width: Hidden units (mlp) or channels at the finest resolution (conv).
        depth: Hidden layers (mlp) or convolutions per resolution (conv).
        head_width: Units of the fully connected layers between vector and convolutions (conv).
        head_depth: How many of them (conv).
        norm: Normalisation after each hidden layer.
        dropout: Probability of dropping a hidden activation (mlp) or channel (conv).
        leak: Slope of the activation for negative values; 0 is ReLU.
    """

    width: int
    depth: int
    head_width: int
    head_depth: int
    norm: Norm
    dropout: float
    leak: float


class Dropout(nn.Module):
    """Dropout that draws its masks from a bound generator (nn.Dropout draws from the global one).

    Drops single units of (N, d) and whole channels of (N, C, H, W).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.rng: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; the identity in evaluation mode."""
        if not self.training or self.probability == 0:
            return x
        if self.rng is None:
            raise RuntimeError("dropout in training mode needs bind_dropout(model, rng) first")
        shape = x.shape[:2] + (1,) * (x.dim() - 2)
        keep = torch.rand(shape, generator=self.rng, device=self.rng.device) >= self.probability
        return x * keep.to(x) / (1 - self.probability)


def bind_dropout(module: nn.Module, rng: torch.Generator) -> None:
    """Makes every dropout below `module` draw from `rng`, which the loop reseeds at each update."""
    for part in module.modules():
        if isinstance(part, Dropout):
            part.rng = rng


def hidden(layer: nn.Module, units: int, options: NetworkOptions) -> list[nn.Module]:
    """A hidden layer with its normalisation, activation and dropout."""
    parts = [layer]
    if options.norm == "batch":
        spatial = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        parts.append(nn.BatchNorm2d(units) if spatial else nn.BatchNorm1d(units))
    parts.append(nn.LeakyReLU(options.leak) if options.leak else nn.ReLU())
    if options.dropout:
        parts.append(Dropout(options.dropout))
    return parts


def fully_connected(
    num_inputs: int, width: int, depth: int, options: NetworkOptions
) -> list[nn.Module]:
    """`depth` hidden layers of `width` units each."""
    layers: list[nn.Module] = []
    for before, after in pairwise([num_inputs] + [width] * depth):
        layers += hidden(nn.Linear(before, after), after, options)
    return layers


def batch_norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """The batch norms below `module`."""
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]


@contextlib.contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block batch norm uses its batch's statistics and remembers none of them.

    For the forward passes of a network that is not being trained: its buffers are its own, too.
    """
    norms = batch_norms(module)
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws all weights below `module` as the library does by default, but from `rng`.

    Weights and biases are uniform in +-1/sqrt(fan_in), norms start at the identity.

    Args:
        module: On any device.
        rng: On the CPU.

    Raises:
        TypeError: A part with parameters that this function does not know: its weights would
            silently come from the global generator.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in, _ = nn.init._calculate_fan_in_and_fan_out(part.weight)
            for parameter in part.parameters(recurse=False):
                # On the CPU, so that a model starts with the same weights on every device.
                drawn = torch.rand(parameter.shape, generator=rng)
                with torch.no_grad():
                    parameter.copy_((2 * drawn - 1) / math.sqrt(fan_in))
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation for {type(part).__name__}")
