"""Frechet distance within each class of a conditional model, in percent of the feature variance.

The value is the mean over the classes of the distance between the generated and the real images of
a class. It detects good images of the wrong class, which the distance of the whole sets misses.
A class has 1 / K of the images, so the bias, which is proportional to 1 / n, is K times as large
and dominates the value of a good model. Compare values only at equal n, and with `iid_floor` in
`params`, the expected value of two sets of real images of these sizes.
"""

from statistics import fmean

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from evaluation.measuring.protocols import Conditional, Sampler
from evaluation.measuring.records import UnavailableError

NAME = "fid_per_class_{extractor}"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, generated_labels = context.sample_features, context.sample_labels
    reference, labels = context.reference_features, context.reference.labels
    if labels is None:
        raise UnavailableError("no_labels")
    num_classes = 1 + int(labels.max())
    counts = labels.bincount().tolist()
    generated_counts = generated_labels.bincount(minlength=num_classes)[:num_classes].tolist()
    distances: list[float | None] = []
    floors = []
    for label, (count, drawn) in enumerate(zip(counts, generated_counts, strict=True)):
        if count < 2:
            distances.append(None)
            continue
        if drawn < 2:  # skipping the class would reward a set without it
            raise UnavailableError("class_missing")
        real = reference[labels == label]
        distances.append(sum(frechet_parts(real, generated[generated_labels == label])))
        floors.append(frechet_floor(covariance(real), count, drawn))
    known = [distance for distance in distances if distance is not None]
    if not known:
        raise UnavailableError("too_few_samples")
    smallest = [min(pair) for pair in zip(counts, generated_counts, strict=True) if min(pair) >= 2]
    params = {
        "classes": distances,
        "class_counts": counts,
        "generated_counts": generated_counts,
        "skipped_classes": len(counts) - len(known),
        "iid_floor": fmean(floors),
        # Valid, because the computation is exact for any rank, but the value is mostly bias.
        "rank_deficient": min(smallest) <= generated.shape[1],
    }
    return {NAME: Measurement(fmean(known), params)}


METRIC = Metric(
    "fid_per_class",
    (Sampler, Conditional),
    (ValueSpec(NAME, "{extractor_unit}", False, 0.0),),
    _compute,
)
