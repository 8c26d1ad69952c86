"""Kernel distance of features (Binkowski et al. 2018): the unbiased MMD^2 of the full sets.

Deterministic, because it uses no subsets. Negative values are valid. The kernel depends on the
scale of the features, so values of different extractors are not comparable.

`p_value` in `params` comes from a permutation test (Gretton et al. 2012): the share of random
divisions of the pooled images whose distance is at least as large. Larger sets are tested on a
seeded subset of `p_value_images` per set. The test is then valid but has less power; a test of all
images would take time quadratic in their number.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.permutations import random_order
from evaluation.measuring.protocols import Sampler

NAME = "kid_{extractor}"
PERMUTATIONS = 1000
#: Images per set in the permutation test; the kernel matrix of both sets takes 8 MB.
TESTED = 500
# Columns of a block of the kernel matrix, whose features are converted to float64 together.
_COLUMNS = 8192


def kernel_distance(reference: Tensor, generated: Tensor, block: int = 256) -> float:
    """Unbiased MMD^2 with the kernel k(a, b) = (a.b / d + 1)^3.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        block: Rows per block of the kernel matrix (default 256, which fits into the cache).
    """
    x, y = reference.cpu(), generated.cpu()
    n, m = len(x), len(y)
    across = sum(_kernel_sum(rows, y) for rows in x.split(block))
    within_x, within_y = (_pair_sum(side, block) / (len(side) * (len(side) - 1)) for side in (x, y))
    return within_x + within_y - 2 * across / (n * m)


def permutation_p_value(
    reference: Tensor,
    generated: Tensor,
    seed: int,
    permutations: int = PERMUTATIONS,
    classes: Tensor | None = None,
) -> float:
    """The share of labellings, including the true one, whose distance is at least the true one.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        seed: Seed of the labellings.
        permutations: Random labellings (default 1,000); the smallest p-value is 1 / (this + 1).
        classes: (N + M,) classes of both sets; labels are then permuted within each class only.
    """
    n, m = len(reference), len(generated)
    pooled = torch.cat([reference, generated]).to("cpu", torch.float64)
    kernel = (pooled @ pooled.T / pooled.shape[1] + 1).pow(3).fill_diagonal_(0)
    rng = torch.Generator().manual_seed(seed)
    orders = [torch.arange(n + m)]
    orders += [random_order(n + m, rng, classes) for _ in range(permutations)]
    # One column per labelling, 1 if the row is in the first set: one product gives all sums.
    first = (torch.stack(orders, 1) < n).double()
    to_first, to_all = kernel @ first, kernel.sum(1)
    inside = (first * to_first).sum(0)
    across = first.T @ to_all - inside
    outside = to_all.sum() - inside - 2 * across
    distances = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * across / (n * m)
    # Sums in another order differ by rounding; equal distances must not count as smaller.
    rounding = 1e-12 * kernel.abs().mean()
    return (distances >= distances[0] - rounding).double().mean().item()


def _pair_sum(x: Tensor, block: int) -> float:
    """The kernel sum over ordered pairs of different rows: twice the sum over unordered pairs."""
    total = 0.0
    for start in range(0, len(x), block):
        rows, later = x[start : start + block], x[start + block :]
        diagonal = (rows.double().square().mean(1) + 1).pow(3).sum().item()
        total += _kernel_sum(rows, rows) - diagonal + 2 * _kernel_sum(rows, later)
    return total


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    rows, total = x.double(), 0.0
    for columns in y.split(_COLUMNS):
        kernel = (rows @ columns.double().T).div_(x.shape[1]).add_(1).flatten()
        # A product, because pow is many times slower than the matrix product above.
        total += torch.dot(kernel.square(), kernel).item()
    return total


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, seed = context.sample_features, context.seeds.metric
    value = kernel_distance(context.reference_features, generated)
    rng = torch.Generator().manual_seed(seed)
    subsets = [torch.randperm(context.num, generator=rng)[:TESTED] for _ in range(2)]
    tested = context.reference_features[subsets[0]], generated[subsets[1]]
    strata = context.strata
    classes = None if strata is None else torch.cat([strata[rows] for rows in subsets])
    params = {
        "degree": 3,
        "subsets": 1,
        "p_value": permutation_p_value(*tested, seed, classes=classes),
        "permuted_within_classes": classes is not None,
        "p_value_images": len(tested[0]),
        "permutations": PERMUTATIONS,
    }
    return {NAME: Measurement(value, params)}


METRIC = Metric("kid", (Sampler,), (ValueSpec(NAME, "raw", False, 0.0),), _compute)
