"""Parts of all networks: options, activations, seeded dropout, weight initialisation."""

import math
from collections.abc import Iterable
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
    """Options of a network.

    Attributes:
        width: Hidden units (mlp, rnn) or channels at the finest resolution (conv, resnet).
        depth: Hidden layers (mlp), convolutions (conv) or residual blocks (resnet) per resolution,
            recurrent layers (rnn).
        head_width: Units of the fully connected layers between vector and convolutions (conv,
            resnet).
        head_depth: Number of these layers (conv, resnet).
        norm: `batch` after each hidden layer (not rnn), `spectral` of all weights (discriminators
            only, not rnn).
        dropout: Probability of dropping a hidden unit (mlp, rnn) or channel (conv, resnet).
        activation: Activation of the hidden layers; `leaky_relu` has slope 0.2 for negative
            inputs. The gated units of an rnn ignore it.
    """

    width: int
    depth: int
    head_width: int
    head_depth: int
    norm: Norm
    dropout: float
    activation: Activation


class Dropout(nn.Module):
    """Dropout with masks from a bound generator (nn.Dropout uses the global one).

    It drops single units of (N, d) and whole channels of (N, C, H, W).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.rng: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Output of the same shape; the identity in evaluation mode."""
        if not self.training or self.probability == 0:
            return x
        if self.rng is None:
            raise RuntimeError("dropout in training mode needs bind_dropout(model, rng) first")
        shape = x.shape[:2] + (1,) * (x.dim() - 2)
        keep = torch.rand(shape, generator=self.rng, device=self.rng.device) >= self.probability
        return x * keep.to(x) / (1 - self.probability)


def bind_dropout(module: nn.Module, rng: torch.Generator) -> None:
    """Binds every dropout below `module` to `rng`; the loop seeds `rng` before each update."""
    for part in module.modules():
        if isinstance(part, Dropout):
            part.rng = rng


def activation(name: Activation) -> nn.Module:
    """The activation module with a given name."""
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
    """A hidden layer with `units` outputs or channels, then norm, activation and dropout."""
    return [layer, *activated(units, options, dense=isinstance(layer, nn.Linear))]


def fully_connected(
    num_inputs: int, width: int, depth: int, options: NetworkOptions
) -> list[nn.Module]:
    """`depth` hidden layers of `width` units each."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([num_inputs] + [width] * depth):
        layers += hidden(nn.Linear(inputs, outputs), outputs, options)
    return layers


def draw_weights(module: nn.Module, rng: torch.Generator) -> None:
    """Draws all weights below `module` from torch's default distributions, with `rng`.

    Weights and biases are uniform in +-1/sqrt(fan_in), in a GRU in +-1/sqrt(hidden units). Batch
    norms start at the identity, spectral norms at the singular vectors of the drawn weights.

    Args:
        module: On any device.
        rng: On the CPU.

    Raises:
        TypeError: A submodule has parameters and no rule here; torch would have drawn them from
            the global generator.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            _draw_layer(part, rng)
        elif isinstance(part, nn.GRU):
            _draw_uniform(part.parameters(), part.hidden_size, rng)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, parametrize.ParametrizationList):
            continue  # drawn with the layer that it belongs to
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation for {type(part).__name__}")


def _draw_layer(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, rng: torch.Generator) -> None:
    weight = max(layer.parameters(), key=Tensor.dim)  # the original weight of a normalised layer
    fan_in, _ = nn.init._calculate_fan_in_and_fan_out(weight)
    _draw_uniform(layer.parameters(), fan_in, rng)
    if parametrize.is_parametrized(layer):
        spectral.restart(layer, rng)


def _draw_uniform(parameters: Iterable[nn.Parameter], fan_in: int, rng: torch.Generator) -> None:
    for parameter in parameters:
        # On the CPU, so that the initial weights are the same on every device.
        uniform = torch.rand(parameter.shape, generator=rng)
        with torch.no_grad():
            parameter.copy_((2 * uniform - 1) / math.sqrt(fan_in))
