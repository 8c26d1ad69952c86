"""Multilayer perceptrons on the flattened image."""

from torch import nn

from genmodels.networks.blocks import NetworkOptions, fully_connected
from genmodels.networks.shape import ImageShape


def downward(shape: ImageShape, num_outputs: int, options: NetworkOptions) -> nn.Module:
    """Images (N, C, H, W) to (N, num_outputs): encoders and discriminators."""
    return nn.Sequential(nn.Flatten(), *_layers(shape.size, num_outputs, options))


def upward(num_inputs: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
    """(N, num_inputs) to raw images (N, C, H, W): decoders and generators."""
    return nn.Sequential(*_layers(num_inputs, shape.size, options), nn.Unflatten(1, shape))


def _layers(num_inputs: int, num_outputs: int, options: NetworkOptions) -> list[nn.Module]:
    layers = fully_connected(num_inputs, options.width, options.depth, options)
    return [*layers, nn.Linear(options.width, num_outputs)]
