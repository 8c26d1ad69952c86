"""Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957): no layer stretches its input.

Torch's own parametrisation, which follows the largest singular vectors with one power iteration per
forward pass in training mode.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

#: Power iterations from the random start to useful singular vectors; torch takes as many.
FIRST_ITERATIONS = 15


def normalise(network: nn.Module) -> None:
    """Divides every weight below `network` by its largest singular value, the output layer's too.

    Kernels count as matrices of (outputs, inputs * height * width).
    """
    for part in list(network.modules()):
        if isinstance(part, nn.Linear | nn.Conv2d):
            spectral_norm(part)


def normalisations(module: nn.Module) -> list[nn.Module]:
    """The parametrisations below `module`; they iterate while they are in training mode."""
    return [
        norm
        for part in module.modules()
        if isinstance(part, parametrize.ParametrizationList)
        for norm in part
    ]


def restart(layer: nn.Module, rng: torch.Generator) -> None:
    """Finds the singular vectors of a layer's new weight from a start drawn on the CPU."""
    (norm,) = normalisations(layer)
    training = norm.training
    norm.train()
    with torch.no_grad():
        vector = norm.get_buffer("_v")
        drawn = torch.randn(vector.shape, generator=rng)
        vector.copy_(nn.functional.normalize(drawn, dim=0))
        for _ in range(FIRST_ITERATIONS):
            layer.weight  # noqa: B018 - looking at it is one iteration
    norm.train(training)
