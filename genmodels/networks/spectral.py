"""Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957): every layer has spectral norm 1.

It is torch's parametrisation, which tracks the largest singular vectors with one power iteration
per forward pass in training mode.
"""

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

#: Power iterations from random vectors to usable singular vectors; torch's default.
FIRST_ITERATIONS = 15


def normalise(network: nn.Module) -> None:
    """Divides every weight below `network`, with the output layer, by its largest singular value.

    A kernel is flattened to a matrix of (outputs, inputs * height * width).
    """
    for part in list(network.modules()):
        if isinstance(part, nn.Linear | nn.Conv2d):
            spectral_norm(part)


def normalisations(module: nn.Module) -> list[nn.Module]:
    """The spectral norms below `module`; each iterates while it is in training mode."""
    return [
        norm
        for part in module.modules()
        if isinstance(part, parametrize.ParametrizationList)
        for norm in part
    ]


def restart(layer: nn.Module, rng: torch.Generator) -> None:
    """Recomputes the singular vectors of a layer after a change of its weight.

    Args:
        layer: Layer with spectral norm, on any device.
        rng: Source of the initial vector, on the CPU.
    """
    (norm,) = normalisations(layer)
    training = norm.training
    norm.train()
    with torch.no_grad():
        vector = norm.get_buffer("_v")
        initial = torch.randn(vector.shape, generator=rng)
        vector.copy_(nn.functional.normalize(initial, dim=0))
        for _ in range(FIRST_ITERATIONS):
            layer.weight  # noqa: B018 - reading the weight runs one iteration
    norm.train(training)
