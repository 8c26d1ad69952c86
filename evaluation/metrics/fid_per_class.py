"""Frechet distance within each class of a conditional model, in percent of the feature variance.

The mean over the classes of the distance between the generated and the real images of a class: it
sees a model that draws good images of the wrong class, which the distance of the whole sets does
not. A class has a K-th of the images, so the bias, which grows as 1 / n, is K times as large and
mostly what a good model's value consists of. `iid_floor` in `params` says what two sets of real
images of these sizes would get on average; compare with that, and only at equal n.
"""

from statistics import fmean

from evaluation.measuring.context import Context, UnavailableError
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from evaluation.measuring.protocols import Conditional, Sampler

NAME = "fid_per_class_{extractor}"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, drawn_for = context.sample_features, context.sample_labels
    reference, labels = context.reference_features, context.reference.labels
    if labels is None:
        raise UnavailableError("no_labels")
    num_classes = 1 + int(labels.max())
    counts = labels.bincount().tolist()
    made = drawn_for.bincount(minlength=num_classes)[:num_classes].tolist()
    distances: list[float | None] = []
    floors = []
    for label, (count, drawn) in enumerate(zip(counts, made, strict=True)):
        if count < 2:
            distances.append(None)
            continue
        if drawn < 2:  # to skip it would reward a set that lacks it
            raise UnavailableError("class_missing")
        real = reference[labels == label]
        distances.append(sum(frechet_parts(real, generated[drawn_for == label])))
        floors.append(frechet_floor(covariance(real), count, drawn))
    known = [distance for distance in distances if distance is not None]
    if not known:
        raise UnavailableError("too_few_samples")
    smallest = [min(pair) for pair in zip(counts, made, strict=True) if min(pair) >= 2]
    params = {
        "classes": distances,
        "class_counts": counts,
        "generated_counts": made,
        "skipped_classes": len(counts) - len(known),
        "iid_floor": fmean(floors),
        # Legal, since the route is exact for any rank, but the value is then mostly bias.
        "rank_deficient": min(smallest) <= generated.shape[1],
    }
    return {NAME: Measurement(fmean(known), params)}


METRIC = Metric(
    "fid_per_class",
    (Sampler, Conditional),
    (ValueSpec(NAME, "{extractor_unit}", False, 0.0),),
    _compute,
)
