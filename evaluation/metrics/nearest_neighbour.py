"""Whether a point's nearest neighbour tells if it is real: leave-one-out 1-NN (Xu et al. 2018).

Share of the pooled features whose nearest other point is of their own set, over all and over each
half. 0.5 for sets that cannot be told apart; above, they are separate; below, the generated points
sit on the real ones, as copies do. Always read with its halves: noise (real 1, generated 0) and
blur (the reverse) have an accuracy near 0.5. Where both sets are equally near, that is half a hit:
if all images are equal, the accuracy is 0.5.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evaluation.context import Context
from evaluation.metric import Measurement, Metric, ValueSpec
from evaluation.neighbours import Overlap, Side, overlap_of
from evaluation.protocols import Sampler

BOTH, REAL, FAKE = "nn1_{extractor}", "nn1_real_{extractor}", "nn1_fake_{extractor}"
PERMUTATIONS = 1000


def accuracies(sets: Overlap) -> dict[str, float]:
    """The accuracy over all points and over each half, by the values' names."""
    real, fake = (_hits(side) for side in (sets.reference, sets.generated))
    return {
        BOTH: torch.cat([real, fake]).mean().item(),
        REAL: real.mean().item(),
        FAKE: fake.mean().item(),
    }


def permutation_test(sets: Overlap, seed: int) -> dict[str, dict[str, float]]:
    """How far the accuracies are from those of labels dealt at random over the same points.

    The binomial deviation does not hold, since points share neighbours; who is nearest to whom does
    not depend on the labels, so the test is exact. A tie is given to one of both sets at random.

    Returns:
        By the values' names `iid_expectation` and `p_value` (two-sided, at least 1 / 1001).
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
    expected = _expected(n, m)
    observed = _apart(is_real, neighbour, expected)
    extreme = dict.fromkeys(expected, 1)
    for _ in range(PERMUTATIONS):
        dealt = _apart(is_real[torch.randperm(n + m, generator=rng)], neighbour, expected)
        for name in extreme:
            # Counts over counts: what is equal differs by rounding only.
            extreme[name] += dealt[name] >= observed[name] - 1e-12
    return {
        name: {"iid_expectation": expected[name], "p_value": count / (PERMUTATIONS + 1)}
        for name, count in extreme.items()
    }


def _hits(side: Side) -> Tensor:
    """(N,) 1 where the nearest other point is of the same set, 1/2 at a tie, else 0."""
    own, across = side.own[:, 0], side.across
    return (own < across).double() + (own == across).double() / 2


def _neighbour(side: Side, first: int, first_across: int, rng: torch.Generator) -> Tensor:
    """(N,) the nearest other point of the pool, in which the sets begin at the given places."""
    coin = torch.rand(len(side), generator=rng) < 0.5
    own, across = side.own[:, 0], side.across
    stays = torch.where(own == across, coin, own < across)
    return torch.where(stays, side.own_index + first, side.across_index + first_across)


def _expected(n: int, m: int) -> dict[str, float]:
    """The mean accuracies over all ways to deal the labels."""
    others = n + m - 1
    both = (n * (n - 1) + m * (m - 1)) / ((n + m) * others)
    return {BOTH: both, REAL: (n - 1) / others, FAKE: (m - 1) / others}


def _apart(is_real: Tensor, neighbour: Tensor, expected: Mapping[str, float]) -> dict[str, float]:
    """How far each accuracy is from its expectation."""
    same = is_real == is_real[neighbour]
    total, real = same.sum().item(), (same & is_real).sum().item()
    n = is_real.sum().item()
    found = {BOTH: total / len(same), REAL: real / n, FAKE: (total - real) / (len(same) - n)}
    return {name: abs(value - expected[name]) for name, value in found.items()}


def _compute(context: Context) -> dict[str, float | Measurement]:
    sets = overlap_of(context)
    tested = permutation_test(sets, context.seeds.metric)
    params: dict[str, Any] = {"permutations": PERMUTATIONS}
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
