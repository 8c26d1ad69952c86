"""Density and coverage of features by balls of nearest neighbours (Naeem et al. 2020).

The ball around a real image has the distance to its fifth nearest other real image as radius and
excludes its border. Coverage is the share of balls that contain a generated image. Density is the
mean number of balls that contain a generated image, divided by 5. Density rewards images that
concentrate where the real ones are dense, so a collapsed model exceeds 1; it is a diagnostic only.
Images from the data's own distribution have density 1 on average, and the coverage in `params`.
"""

import math
from typing import Any

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.overlap import NEIGHBOURS, Overlap, overlap_of
from evaluation.measuring.protocols import Sampler

DENSITY, COVERAGE = "density_{extractor}", "coverage_{extractor}"
K = NEIGHBOURS


def density(sets: Overlap, k: int = K) -> float:
    """Mean number of reference balls that contain a generated point, divided by k."""
    return sets.generated.containing[:, k - 1].double().mean().item() / k


def coverage(sets: Overlap, k: int = K) -> float:
    """Share of the reference balls that contain a generated point."""
    side = sets.reference
    return (side.across < side.own[:, k - 1]).double().mean().item()


def expected_coverage(n: int, m: int, k: int = K) -> float:
    """Expected coverage of n reference points by m points of the same distribution.

    1 - prod over i = 1..k of (n - i) / (n + m - i): a ball stays empty if its k nearest points of
    both sets are reference points. It holds for every distribution that has a density.
    """
    return 1 - math.prod((n - i) / (n + m - i) for i in range(1, k + 1))


def _compute(context: Context) -> dict[str, float | Measurement]:
    sets = overlap_of(context)
    params: dict[str, Any] = {"k": K}
    if sets.neighbours < K:
        return dict.fromkeys((DENSITY, COVERAGE), failure("fewer_images_than_neighbours", **params))
    if sets.reference.all_balls_empty(K):  # no image could be inside one
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
