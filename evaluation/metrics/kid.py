"""Kernel distance of features (Binkowski et al. 2018): the unbiased MMD^2 of the full sets.

No subsets, so deterministic; negative values are legal. Not scale-free: it never compares across
extractors.
"""

import torch
from torch import Tensor

from evaluation.context import Context
from evaluation.metric import Measurement, Metric, ValueSpec
from evaluation.protocols import Sampler

NAME = "kid_{extractor}"


def kernel_distance(reference: Tensor, generated: Tensor, block: int = 1000) -> float:
    """Unbiased MMD^2 with the kernel k(a, b) = (a.b / d + 1)^3.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        block: Rows per block of the kernel matrix.
    """
    x, y = (features.to("cpu", torch.float64) for features in (reference, generated))
    n, m = len(x), len(y)
    within_x = (_kernel_sum(x, x, block) - _diagonal_sum(x)) / (n * (n - 1))
    within_y = (_kernel_sum(y, y, block) - _diagonal_sum(y)) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y, block) / (n * m)


def _kernel_sum(x: Tensor, y: Tensor, block: int) -> float:
    d = x.shape[1]
    blocks = [(rows @ y.T / d + 1).pow(3).sum() for rows in x.split(block)]
    return torch.stack(blocks).sum().item()


def _diagonal_sum(x: Tensor) -> float:
    return (x.square().mean(1) + 1).pow(3).sum().item()


def _compute(context: Context) -> dict[str, float | Measurement]:
    value = kernel_distance(context.reference_features, context.sample_features)
    return {NAME: Measurement(value, {"degree": 3, "subsets": 1})}


METRIC = Metric("kid", (Sampler,), (ValueSpec(NAME, "raw", False, 0.0),), _compute)
