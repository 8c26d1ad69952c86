"""Control over the running statistics of batch norm and spectral norm."""

import contextlib
from collections.abc import Iterator

from torch import nn

from genmodels.networks import spectral


def batch_norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """The batch norms below `module`."""
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]


@contextlib.contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block, forward passes in training mode leave the norms' buffers unchanged.

    Batch norm still normalises with the statistics of the batch; spectral norm keeps its singular
    vectors. It is for forward passes of a network that the current phase does not train.
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


@contextlib.contextmanager
def averaged_statistics(module: nn.Module) -> Iterator[None]:
    """Inside the block, batch norm statistics restart as a plain average over the forward passes.

    The module is in training mode inside the block; its mode and momenta return on exit.
    """
    norms = batch_norms(module)
    momenta = [norm.momentum for norm in norms]
    training = module.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average instead of an exponential one
    module.train()
    try:
        yield
    finally:
        module.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
