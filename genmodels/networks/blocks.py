"""What all networks share: options, dropout with its own noise, weight initialisation."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genmodels.networks import spectral

Norm = Literal["none", "batch", "spectral"]
Activation = Literal["relu", "leaky_relu", "silu", "tanh"]


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is built.

    Attributes:
        width: Hidden units (mlp, rnn) or channels at the finest resolution (conv, resnet).
        depth: Hidden layers (mlp), convolutions (conv) or residual blocks (resnet) per resolution,
            recurrent layers (rnn).
        head_width: Units of the fully connected layers between vector and convolutions (conv,
            resnet).
        head_depth: How many of them (conv, resnet).
        norm: `batch` after each hidden layer (not rnn), `spectral` of all weights (discriminators,
            not rnn).
        dropout: Probability of dropping a hidden unit (mlp, rnn) or channel (conv, resnet).
        activation: Of the hidden layers; `leaky_relu` has slope 0.2 below zero. An rnn's units are
            gated and have none.
    """

    width: int
    depth: int
    head_width: int
    head_depth: int
    norm: Norm
    dropout: float
    activation: Activation


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


def activation(name: Activation) -> nn.Module:
    """The activation of that name."""
    match name:
        case "relu":
            return nn.ReLU()
        case "leaky_relu":
            return nn.LeakyReLU(negative_slope=0.2)
        case "silu":
            return nn.SiLU()
        case "tanh":
            return nn.Tanh()


def activated(units: int, options: NetworkOptions, *, dense: bool) -> list[nn.Module]:
    """Normalisation, activation and dropout of (N, units) if `dense`, else of (N, units, H, W)."""
    parts: list[nn.Module] = []
    if options.norm == "batch":
        parts.append(nn.BatchNorm1d(units) if dense else nn.BatchNorm2d(units))
    parts.append(activation(options.activation))
    if options.dropout:
        parts.append(Dropout(options.dropout))
    return parts


def hidden(layer: nn.Module, units: int, options: NetworkOptions) -> list[nn.Module]:
    """A layer with so many units or channels, and what follows a hidden one."""
    return [layer, *activated(units, options, dense=isinstance(layer, nn.Linear))]


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
    """Inside the block the norms of a network in training mode leave their buffers alone.

    Batch norm uses its batch's statistics and remembers none of them; spectral norm keeps its
    singular vectors. For the forward passes of a network that is not being trained: its buffers are
    its own, too.
    """
    norms = batch_norms(module)
    iterating = [norm for norm in spectral.normalisations(module) if norm.training]
    for norm in norms:
        norm.track_running_stats = False
    for iteration in iterating:
        iteration.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for iteration in iterating:
            iteration.train()


def draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws all weights below `module` as the library does by default, but from `rng`.

    Weights and biases are uniform in +-1/sqrt(fan_in) and in +-1/sqrt(hidden units) in a GRU; batch
    norms start at the identity, spectral norms at the drawn weights' own singular vectors.

    Args:
        module: On any device.
        rng: On the CPU.

    Raises:
        TypeError: A part with parameters that this function does not know: its weights would
            silently come from the global generator.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            _draw_layer(part, rng)
        elif isinstance(part, nn.GRU):
            _draw_uniform(part.parameters(), part.hidden_size, rng)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, parametrize.ParametrizationList):
            continue  # its weight was drawn with the layer that it belongs to
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation for {type(part).__name__}")


def _draw_layer(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, rng: torch.Generator) -> None:
    weight = max(layer.parameters(), key=Tensor.dim)  # the original one, where it is normalised
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(weight)
    _draw_uniform(layer.parameters(), fan_in, rng)
    if parametrize.is_parametrized(layer):
        spectral.restart(layer, rng)


def _draw_uniform(parameters: Iterable[nn.Parameter], fan_in: int, rng: torch.Generator) -> None:
    for parameter in parameters:
        # On the CPU, so that a model starts with the same weights on every device.
        drawn = torch.rand(parameter.shape, generator=rng)
        with torch.no_grad():
            parameter.copy_((2 * drawn - 1) / math.sqrt(fan_in))
