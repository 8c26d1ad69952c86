"""Kernel distance of features (Binkowski et al. 2018): the unbiased MMD^2 of the full sets.

No subsets, so deterministic; negative values are legal. Not scale-free: it never compares across
extractors.

`p_value` in `params` is that of a permutation test (Gretton et al. 2012): how often sets that are
dealt at random from the pooled images are at least so far apart. Of larger sets it is about a
seeded subset of `p_value_images` a side, which makes it valid but weaker: a test of all images
would cost the square of their number.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.permutations import shuffled
from evaluation.measuring.protocols import Sampler

NAME = "kid_{extractor}"
PERMUTATIONS = 1000
#: Images a side of the permutation test; the kernel matrix of both takes 8 MB.
TESTED = 500
# Columns of a block of the kernel matrix: so many features at a time are float64.
_COLUMNS = 8192


def kernel_distance(reference: Tensor, generated: Tensor, block: int = 256) -> float:
    """Unbiased MMD^2 with the kernel k(a, b) = (a.b / d + 1)^3.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        block: Rows per block of the kernel matrix; few of them stay in the cache.
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
    """The share of random labels, the true ones among them, whose distance is not smaller.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.
        seed: Of the labels.
        permutations: Number of random labels; the smallest p-value is 1 / (permutations + 1).
        classes: (N + M,) of both sets; labels are dealt within each class only.
    """
    n, m = len(reference), len(generated)
    pooled = torch.cat([reference, generated]).to("cpu", torch.float64)
    kernel = (pooled @ pooled.T / pooled.shape[1] + 1).pow(3).fill_diagonal_(0)
    rng = torch.Generator().manual_seed(seed)
    orders = [torch.arange(n + m)]
    orders += [shuffled(n + m, rng, classes) for _ in range(permutations)]
    # A column for each labelling, 1 where the row is in the first set: all sums of one in one go.
    first = (torch.stack(orders, 1) < n).double()
    to_first, to_all = kernel @ first, kernel.sum(1)
    inside = (first * to_first).sum(0)
    across = first.T @ to_all - inside
    outside = to_all.sum() - inside - 2 * across
    distances = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * across / (n * m)
    # Sums in another order differ by rounding: equal distances must not count as smaller ones.
    rounding = 1e-12 * kernel.abs().mean()
    return (distances >= distances[0] - rounding).double().mean().item()


def _pair_sum(x: Tensor, block: int) -> float:
    """The sum over ordered pairs of different rows: twice that over half of them."""
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
        # As a product: pow is many times slower than the matrix product before it.
        total += torch.dot(kernel.square(), kernel).item()
    return total


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, seed = context.sample_features, context.seeds.metric
    value = kernel_distance(context.reference_features, generated)
    rng = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(context.num, generator=rng)[:TESTED] for _ in range(2)]
    tested = context.reference_features[chosen[0]], generated[chosen[1]]
    strata = context.strata
    classes = None if strata is None else torch.cat([strata[rows] for rows in chosen])
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
