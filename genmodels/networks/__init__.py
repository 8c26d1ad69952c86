"""Encoders, decoders, generators and discriminators, one architecture a file.

Each file offers `downward` (images to numbers) and `upward` (numbers to raw images).
"""

from torch import nn

from genmodels.networks import conv, mlp
from genmodels.networks.blocks import NetworkOptions
from genmodels.shape import ImageShape

ARCHITECTURES = {"mlp": mlp, "conv": conv}


def downward(
    architecture: str, shape: ImageShape, num_outputs: int, options: NetworkOptions
) -> nn.Sequential:
    """Images (N, C, H, W) to (N, num_outputs): encoders and discriminators."""
    return ARCHITECTURES[architecture].downward(shape, num_outputs, options)


def upward(
    architecture: str, num_inputs: int, shape: ImageShape, options: NetworkOptions
) -> nn.Sequential:
    """(N, num_inputs) to raw images (N, C, H, W): decoders and generators."""
    return ARCHITECTURES[architecture].upward(num_inputs, shape, options)
