"""Whether a point's nearest neighbour tells if it is real: leave-one-out 1-NN (Xu et al. 2018).

Share of the pooled features whose nearest other point is of their own set, over all and over each
half. 0.5 for sets that cannot be told apart; above, they are separate; below, the generated points
sit on the real ones, as copies do. Always read with its halves: noise (real 1, generated 0) and
blur (the reverse) have an accuracy near 0.5. Where both sets are equally near, that is half a hit:
if all images are equal, the accuracy is 0.5.
"""

from statistics import fmean

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.neighbours import Overlap, Side, overlap_of
from evaluation.measuring.permutations import shuffled
from evaluation.measuring.protocols import Sampler

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


def permutation_test(
    sets: Overlap, seed: int, classes: Tensor | None = None
) -> dict[str, dict[str, float]]:
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
    observed = _shares(is_real, neighbour)
    dealt = [
        _shares(is_real[shuffled(n + m, rng, classes)], neighbour) for _ in range(PERMUTATIONS)
    ]
    expected = _expected(n, m)
    if classes is not None:
        # Neighbours are mostly of one class: the mean over such labels is another one.
        expected = {name: fmean(found[name] for found in dealt) for name in observed}
    tested = {}
    for name, mean in expected.items():
        # Counts over counts: what is equal differs by rounding only.
        limit = abs(observed[name] - mean) - 1e-12
        extreme = 1 + sum(abs(found[name] - mean) >= limit for found in dealt)
        tested[name] = {"iid_expectation": mean, "p_value": extreme / (PERMUTATIONS + 1)}
    return tested


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


def _shares(is_real: Tensor, neighbour: Tensor) -> dict[str, float]:
    """The accuracies of labels over given neighbours."""
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
