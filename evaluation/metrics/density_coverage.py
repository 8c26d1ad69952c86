"""Density and coverage of features by balls of nearest neighbours (Naeem et al. 2020).

Balls around the real images reach to their fifth nearest other real image, without the border.
Coverage is the share of balls with a generated image inside. Density counts for each generated
image the balls that it lies in; it rewards images that crowd where the real ones are dense, so a
collapsed model exceeds 1, and it is a diagnostic only. Images drawn from the data's distribution
have density 1 on average, and the coverage that `params` gives.
"""

import math
from typing import Any

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.neighbours import NEIGHBOURS, Overlap, overlap_of
from evaluation.measuring.protocols import Sampler

DENSITY, COVERAGE = "density_{extractor}", "coverage_{extractor}"
K = NEIGHBOURS


def density(sets: Overlap, k: int = K) -> float:
    """How many reference balls a generated point lies in on average, divided by k."""
    return sets.generated.containing[:, k - 1].double().mean().item() / k


def coverage(sets: Overlap, k: int = K) -> float:
    """The share of reference balls that hold a generated point."""
    side = sets.reference
    return (side.across < side.own[:, k - 1]).double().mean().item()


def expected_coverage(n: int, m: int, k: int = K) -> float:
    """The coverage of n reference points by m from the same distribution, on average.

    1 - prod over i = 1..k of (n - i) / (n + m - i): a ball stays empty if the k nearest of all the
    other points are reference points. Whatever the distribution, if it has a density.
    """
    return 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))


def _compute(context: Context) -> dict[str, float | Measurement]:
    sets = overlap_of(context)
    params: dict[str, Any] = {"k": K}
    if sets.neighbours < K:
        return dict.fromkeys((DENSITY, COVERAGE), failure("fewer_images_than_neighbours", **params))
    if sets.reference.covers_nothing(K):  # not even the same images again
        return dict.fromkeys((DENSITY, COVERAGE), failure("identical_images", **params))
    expected = expected_coverage(len(sets.reference), len(sets.generated))
    return {
        DENSITY: Measurement(density(sets), {**params, "iid_expectation": 1.0}),
        COVERAGE: Measurement(coverage(sets), {**params, "iid_expectation": expected}),
    }


METRIC = Metric(
    "density_coverage",
    (Sampler,),
    (ValueSpec(DENSITY, "ratio", None), ValueSpec(COVERAGE, "fraction", True)),
    _compute,
)
