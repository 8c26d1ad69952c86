"""Precision and recall of features by balls of nearest neighbours (Kynkaanniemi et al. 2019).

A set covers the balls around its points whose radius is the distance to the third nearest other
point of the set, without border. Precision is the share of generated images that the real set
covers, recall the share of real images that the generated set covers. A perfect model has less than
1 in both: compare with the value of held-out images. If all generated images are equal, their balls
have radius 0 and are empty, so a model that repeats one image has recall 0. If all real images are
equal, no model could be covered: precision is null, and recall is null if both sets are constant.
"""

from typing import Any

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.overlap import Overlap, Side, overlap_of
from evaluation.measuring.protocols import Sampler

PRECISION, RECALL = "precision_{extractor}", "recall_{extractor}"
K = 3


def precision(sets: Overlap, k: int = K) -> float:
    """The share of generated points inside a ball of the reference (eq. 2 of the paper)."""
    return _covered(sets.generated, k)


def recall(sets: Overlap, k: int = K) -> float:
    """The share of reference points inside a ball of the generated set (eq. 2 of the paper)."""
    return _covered(sets.reference, k)


def _covered(side: Side, k: int) -> float:
    return (side.containing[:, k - 1] > 0).double().mean().item()


def _compute(context: Context) -> dict[str, float | Measurement]:
    sets = overlap_of(context)
    params: dict[str, Any] = {"k": K}
    if sets.neighbours < K:
        return dict.fromkeys((PRECISION, RECALL), failure("fewer_images_than_neighbours", **params))
    no_reference = sets.reference.all_balls_empty(K)
    neither = no_reference and sets.generated.all_balls_empty(K)
    identical = failure("identical_images", **params)
    # Unlike that of coverage it depends on the data: 0.9 on digits, 0.6 for 64-d Gaussians.
    params["iid_expectation"] = "below 1, the value of held-out images"
    return {
        PRECISION: identical if no_reference else Measurement(precision(sets), params),
        RECALL: identical if neither else Measurement(recall(sets), params),
    }


METRIC = Metric(
    "precision_recall",
    (Sampler,),
    (ValueSpec(PRECISION, "fraction", True), ValueSpec(RECALL, "fraction", True)),
    _compute,
)
