"""Leave-one-out 1-nearest-neighbour accuracy, real against generated (Xu et al. 2018).

The share of the pooled features whose nearest other point is of their own set, over all points and
over each set. Equal distributions have 0.5, separate sets more, and generated points close to the
real ones, such as copies, less. Read it together with the values of the two sets: noise (real 1,
generated 0) and blur (the reverse) have a total near 0.5. A tie between the sets counts half: if
all images are equal, the accuracy is 0.5.
"""

from statistics import fmean

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.overlap import Overlap, Side, overlap_of
from evaluation.measuring.permutations import random_order
from evaluation.measuring.protocols import Sampler

BOTH, REAL, FAKE = "nn1_{extractor}", "nn1_real_{extractor}", "nn1_fake_{extractor}"
PERMUTATIONS = 1000


def accuracies(sets: Overlap) -> dict[str, float]:
    """The accuracy over all points and over each set, by the values' names."""
    real, fake = (_hits(side) for side in (sets.reference, sets.generated))
    return {
        BOTH: torch.cat([real, fake]).mean().item(),
        REAL: real.mean().item(),
        FAKE: fake.mean().item(),
    }


def permutation_test(
    sets: Overlap, seed: int, classes: Tensor | None = None
) -> dict[str, dict[str, float]]:
    """Permutation test of the accuracies against random labels of the same points.

    A binomial test is invalid, because points share neighbours. The neighbours do not depend on the
    labels, so the permutation test is exact. Ties between the sets are broken at random.

    Args:
        sets: The neighbours of both sets.
        seed: Seed of the tie-breaking and of the permutations.
        classes: (N + M,) classes of both sets; labels are then permuted within each class only.

    Returns:
        `iid_expectation` and `p_value` (two-sided, at least 1 / 1001) by the values' names.
    """
    n, m = len(sets.reference), len(sets.generated)
    rng = torch.Generator().manual_seed(seed)
    neighbour = torch.cat(
        [
            _neighbour(sets.reference, 0, n, rng),
            _neighbour(sets.generated, n, 0, rng),
        ]
    )
    is_real = torch.arange(n + m) < n
    observed = _shares(is_real, neighbour)
    permuted = [
        _shares(is_real[random_order(n + m, rng, classes)], neighbour) for _ in range(PERMUTATIONS)
    ]
    expected = _expected(n, m)
    if classes is not None:
        # Neighbours are mostly of one class, so the closed form does not hold within classes.
        expected = {name: fmean(shares[name] for shares in permuted) for name in observed}
    tested = {}
    for name, mean in expected.items():
        # 1e-12: equal ratios of counts can differ by rounding.
        limit = abs(observed[name] - mean) - 1e-12
        extreme = 1 + sum(abs(shares[name] - mean) >= limit for shares in permuted)
        tested[name] = {"iid_expectation": mean, "p_value": extreme / (PERMUTATIONS + 1)}
    return tested


def _hits(side: Side) -> Tensor:
    """(N,) 1 where the nearest other point is of the same set, 1/2 at a tie, else 0."""
    own, across = side.own[:, 0], side.across
    return (own < across).double() + (own == across).double() / 2


def _neighbour(side: Side, first: int, first_across: int, rng: torch.Generator) -> Tensor:
    """(N,) index of the nearest other point in the pool; the sets start at the given offsets."""
    coin = torch.rand(len(side), generator=rng) < 0.5
    own, across = side.own[:, 0], side.across
    same_set = torch.where(own == across, coin, own < across)
    return torch.where(same_set, side.own_index + first, side.across_index + first_across)


def _expected(n: int, m: int) -> dict[str, float]:
    """The mean accuracies over all permutations of the labels."""
    others = n + m - 1
    both = (n * (n - 1) + m * (m - 1)) / ((n + m) * others)
    return {BOTH: both, REAL: (n - 1) / others, FAKE: (m - 1) / others}


def _shares(is_real: Tensor, neighbour: Tensor) -> dict[str, float]:
    """The accuracies of labels, given the nearest neighbour of each point."""
    same = is_real == is_real[neighbour]
    total, real = same.sum().item(), (same & is_real).sum().item()
    n = is_real.sum().item()
    return {BOTH: total / len(same), REAL: real / n, FAKE: (total - real) / (len(same) - n)}


def _compute(context: Context) -> dict[str, float | Measurement]:
    sets = overlap_of(context)
    strata = context.strata
    classes = None if strata is None else strata.repeat(2)
    tested = permutation_test(sets, context.seeds.metric, classes)
    params = {"permutations": PERMUTATIONS, "permuted_within_classes": classes is not None}
    return {
        name: Measurement(value, {**params, **tested[name]})
        for name, value in accuracies(sets).items()
    }


METRIC = Metric(
    "nearest_neighbour",
    (Sampler,),
    tuple(ValueSpec(name, "fraction", None, 0.5) for name in (BOTH, REAL, FAKE)),
    _compute,
)
