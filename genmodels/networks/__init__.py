"""Networks: encoders, decoders, generators and discriminators, one file per architecture.

The functions here build a network of any architecture. Imports no other wing of `genmodels`.
"""

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
        ValueError: The architecture does not support the norm.
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
        ValueError: The architecture does not support the norm, or the norm is spectral.
    """
    _reject_spectral(options)
    return ARCHITECTURES[architecture].upward(num_inputs, shape, options)


def to_grid(
    architecture: str, shape: ImageShape, channels: int, options: NetworkOptions
) -> nn.Module:
    """Images (N, C, H, W) to vectors (N, positions, channels) on the grid of `grid_size`.

    In a convolutional architecture a position depends on its part of the image, in a dense one on
    the whole image.

    Raises:
        ValueError: The architecture does not support the norm, or the norm is spectral.
    """
    _reject_spectral(options)
    return ARCHITECTURES[architecture].to_grid(shape, channels, options)


def from_grid(
    architecture: str, channels: int, shape: ImageShape, options: NetworkOptions
) -> nn.Module:
    """Vectors (N, positions, channels) on the grid of `grid_size` to raw images (N, C, H, W).

    Raises:
        ValueError: The architecture does not support the norm, or the norm is spectral.
    """
    _reject_spectral(options)
    return ARCHITECTURES[architecture].from_grid(channels, shape, options)


def shared_by_bias(network: nn.Module, image: Tensor) -> Tensor:
    """The projection of an image onto the images that an output bias can represent.

    Args:
        network: Network from `upward` or `from_grid`.
        image: (C, H, W).

    Returns:
        (C, H, W): the mean over the pixels of a channel for convolutions, the mean over the rows
        for an rnn, the image itself for an mlp.
    """
    return _one_per_bias(_output_layer(network), image).expand_as(image)


def set_output_bias(network: nn.Module, image: Tensor) -> None:
    """Sets the output bias so that a network with zero weights returns `shared_by_bias`.

    Args:
        network: Network from `upward` or `from_grid`.
        image: (C, H, W), raw output.
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


def _reject_spectral(options: NetworkOptions) -> None:
    if options.norm == "spectral":
        raise ValueError("norm 'spectral' is available for discriminators only")
