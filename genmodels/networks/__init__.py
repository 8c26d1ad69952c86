"""Encoders, decoders, generators and discriminators, one architecture a file."""

import torch
from torch import Tensor, nn

from genmodels.networks import conv, mlp, resnet, rnn, spectral
from genmodels.networks.architecture import Convolutional, Dense, grid_size
from genmodels.networks.blocks import NetworkOptions
from genmodels.networks.shape import ImageShape

__all__ = [
    "ARCHITECTURES",
    "downward",
    "from_grid",
    "grid_size",
    "set_output_bias",
    "shared_by_bias",
    "to_grid",
    "upward",
]

ARCHITECTURES: dict[str, Dense | Convolutional] = {
    "mlp": Dense(mlp.downward, mlp.upward),
    "conv": Convolutional(conv.down, conv.up),
    "resnet": Convolutional(resnet.down, resnet.up),
    "rnn": Dense(rnn.downward, rnn.upward),
}


def downward(
    architecture: str, shape: ImageShape, num_outputs: int, options: NetworkOptions
) -> nn.Module:
    """Images (N, C, H, W) to (N, num_outputs): encoders and discriminators.

    Raises:
        ValueError: The architecture does not have the norm.
    """
    network = ARCHITECTURES[architecture].downward(shape, num_outputs, options)
    if options.norm == "spectral":
        spectral.normalise(network)
    return network


def upward(
    architecture: str, num_inputs: int, shape: ImageShape, options: NetworkOptions
) -> nn.Module:
    """(N, num_inputs) to raw images (N, C, H, W): decoders and generators.

    Raises:
        ValueError: The architecture does not have the norm, or the norm is spectral.
    """
    _refuse_spectral(options)
    return ARCHITECTURES[architecture].upward(num_inputs, shape, options)


def to_grid(
    architecture: str, shape: ImageShape, channels: int, options: NetworkOptions
) -> nn.Module:
    """Images (N, C, H, W) to vectors (N, positions, channels) on the grid of `grid_size`.

    A convolutional architecture sees at a position its part of the image, the others all of it.

    Raises:
        ValueError: The architecture does not have the norm, or the norm is spectral.
    """
    _refuse_spectral(options)
    return ARCHITECTURES[architecture].to_grid(shape, channels, options)


def from_grid(
    architecture: str, channels: int, shape: ImageShape, options: NetworkOptions
) -> nn.Module:
    """Vectors (N, positions, channels) on the grid of `grid_size` to raw images (N, C, H, W).

    Raises:
        ValueError: The architecture does not have the norm, or the norm is spectral.
    """
    _refuse_spectral(options)
    return ARCHITECTURES[architecture].from_grid(channels, shape, options)


def shared_by_bias(network: nn.Module, image: Tensor) -> Tensor:
    """The image as far as the output bias of a network from `upward` or `from_grid` can draw it.

    Args:
        network: Its last layer decides.
        image: (C, H, W).

    Returns:
        (C, H, W): averaged over the pixels of a channel for convolutions and over the rows for an
        rnn, unchanged for an mlp.
    """
    return _one_per_bias(_output_layer(network), image).expand_as(image)


def set_output_bias(network: nn.Module, image: Tensor) -> None:
    """Sets the output bias: with zero weights the network gives `shared_by_bias(network, image)`.

    Args:
        network: From `upward` or `from_grid`.
        image: (C, H, W), raw.
    """
    last = _output_layer(network)
    with torch.no_grad():
        last.get_parameter("bias").copy_(_one_per_bias(last, image).flatten())


_OutputLayer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def _output_layer(network: nn.Module) -> _OutputLayer:
    *_, last = (part for part in network.modules() if isinstance(part, _OutputLayer))
    return last


def _one_per_bias(last: _OutputLayer, image: Tensor) -> Tensor:
    if not isinstance(last, nn.Linear):
        return image.mean((1, 2), keepdim=True)
    return image if last.out_features == image.numel() else image.mean(1, keepdim=True)


def _refuse_spectral(options: NetworkOptions) -> None:
    if options.norm == "spectral":
        raise ValueError("norm 'spectral' is for discriminators")
