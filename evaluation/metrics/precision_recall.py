"""Precision and recall of features by balls of nearest neighbours (Kynkaanniemi et al. 2019).

A set covers the balls around its points that reach to their third nearest other point, without the
border. Precision is the share of generated images that the real set covers, recall the share of
real images that the generated set covers. Neither is 1 for a perfect model: they are read against
the value of held-out images. Where generated images are equal, their balls have radius 0 and
contain nothing, so a model that repeats one image has recall 0. Where the real images are, they
cover nothing that any model could draw: precision is null, and so is recall if both sets are.
"""

from typing import Any

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.neighbours import Overlap, Side, overlap_of
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
    no_reference = sets.reference.covers_nothing(K)
    neither = no_reference and sets.generated.covers_nothing(K)
    identical = failure("identical_images", **params)
    # It depends on the data, unlike that of coverage: 0.9 on digits, 0.6 for 64-d Gaussians.
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
