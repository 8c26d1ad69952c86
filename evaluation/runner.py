"""Runs metrics on one model and writes down what they say."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evaluation import metrics as registry
from evaluation.measuring.context import Context, RealImages, Seeds, UnavailableError, check_labels
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.records import Record


@dataclass(frozen=True)
class Settings:
    """What decides the values of a given model besides the data and the extractor.

    Attributes:
        seeds: Of training, latents and metrics.
        max_samples: At most so many images on each side.
        sample_sets: Sets of samples that a model is measured on, from the seeds `seeds.sample`,
            `seeds.sample` + 1 and so on; the mean over them is the value.
        batch_size: Images per call of the model.
    """

    seeds: Seeds
    max_samples: int
    sample_sets: int = 1
    batch_size: int = 250

    def sets(self, metric: Metric, *, fixed: bool) -> int:
        """On how many sets of samples a metric is computed; `fixed` images have one only."""
        return self.sample_sets if metric.samples and metric.every_set and not fixed else 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured, and the images that it was measured on.

    Attributes:
        records: In the order of the metrics asked for, and of the values of each.
        samples: (n, C, H, W) of the first set, as the model drew them; None where it draws none.
    """

    records: tuple[Record, ...]
    samples: Tensor | None


class FixedImages:
    """A set of images in the place of a model: a reference row, dealt in order."""

    conditional = False

    def __init__(self, images: Tensor, labels: Tensor | None = None) -> None:
        self.images, self.image_labels = images, labels
        self._dealt = 0

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """The next n images; `rng` is not used."""
        start, self._dealt = self._dealt, self._dealt + n
        return self.images[start : self._dealt]


def evaluate(  # noqa: PLR0913  (all but two by keyword)
    model: object,
    metrics: Sequence[str],
    *,
    reference: RealImages,
    train: RealImages,
    valid: RealImages | None = None,
    extractors: Sequence[FeatureExtractor | MissingExtractor],
    replicas: Sequence[FeatureExtractor] = (),
    settings: Settings,
    progress: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Measures a model.

    As many images are generated as there are reference images, at most `max_samples`; of a
    conditional model, images of the reference's classes. Equal arguments give equal records; the
    global random state is neither used nor changed.

    Args:
        model: Anything; what it can do is told by `evaluation.measuring.protocols`.
        metrics: Names of files in `evaluation/metrics/`.
        reference: The real images to compare with, in random order.
        train: The real images that the model was trained on.
        valid: Real images for choices that the reference must not decide; None where there are
            none.
        extractors: Each feature metric is measured with each of them, at least one; a
            `MissingExtractor` gives null records with its reason.
        replicas: The first extractor trained from other seeds. A metric that is `replicated` holds
            its values with them in `params`, as `replicas`.
        settings: Seeds and sizes.
        progress: Called with each metric's name before it is computed.

    Raises:
        ValueError: A metric is unknown, there is no extractor, or the model's images have a wrong
            shape or are no floats in [0, 1].
    """
    if not extractors:
        raise ValueError("no extractor: a MissingExtractor stands for none")
    loaded = [registry.load(name) for name in metrics]
    reference = reference.first(settings.max_samples)
    seeds = settings.seeds
    context = Context(model, reference, train, valid, extractors[0], seeds, settings.batch_size)
    records: list[Record] = []
    for metric in loaded:
        progress(metric.name)
        for extractor in extractors if metric.uses_extractor else extractors[:1]:
            sets = settings.sets(metric, fixed=isinstance(model, FixedImages))
            views = [context.view(extractor, seeds.sample + i) for i in range(sets)]
            measured = _over_sets([_measure(metric, view) for view in views])
            if metric.replicated and extractor is extractors[0] and replicas:
                others = [_measure(metric, context.view(other, seeds.sample)) for other in replicas]
                measured = _with_replicas(measured, others)
            records += [
                _record(spec, metric, measured[spec.name], views[0]) for spec in metric.values
            ]
    return Evaluation(tuple(records), context.sampled)


def evaluate_images(  # noqa: PLR0913  (all but two by keyword)
    images: Tensor,
    metrics: Sequence[str],
    *,
    labels: Tensor | None = None,
    reference: RealImages,
    train: RealImages,
    valid: RealImages | None = None,
    extractors: Sequence[FeatureExtractor | MissingExtractor],
    replicas: Sequence[FeatureExtractor] = (),
    settings: Settings,
    progress: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Scores a fixed set of images (N, C, H, W) in [0, 1] as if a model had drawn them.

    Both sides have min(N, reference, max_samples) images, the first ones. `labels` are the (N,)
    classes of the images, for the metrics that need them. For the other arguments see `evaluate`.

    Raises:
        ValueError: A metric is unknown, there is no extractor, the shapes differ, a pixel is
            outside [0, 1], or there is not one label from 0 for each image.
    """
    check_labels(labels, len(images))
    if images.shape[1:] != reference.images.shape[1:]:
        shapes = f"{tuple(images.shape[1:])} and {tuple(reference.images.shape[1:])}"
        raise ValueError(f"images and reference differ in shape: {shapes}")
    return evaluate(
        FixedImages(RealImages.of(images).images, labels),
        metrics,
        reference=reference.first(len(images)),
        train=train,
        valid=valid,
        extractors=extractors,
        replicas=replicas,
        settings=settings,
        progress=progress,
    )


def _measure(metric: Metric, context: Context) -> Mapping[str, Measurement]:
    if not all(isinstance(context.model, protocol) for protocol in metric.requires):
        return dict(_all_null(metric, "not_supported"))
    try:
        values = metric.compute(context)
    except UnavailableError as error:
        return dict(_all_null(metric, str(error)))
    return {
        name: value if isinstance(value, Measurement) else Measurement(value)
        for name, value in values.items()
    }


def _all_null(metric: Metric, reason: str) -> Iterator[tuple[str, Measurement]]:
    for spec in metric.values:
        yield spec.name, failure(reason)


def _over_sets(measured: Sequence[Mapping[str, Measurement]]) -> Mapping[str, Measurement]:
    """The mean of a value over the sets of samples; null if it is null on one of them.

    Its interval is the mean of the sets' own: no narrower than that of the mean would be, since the
    sets share the real images. By-products stay those of the first set, and are called so.
    """
    if len(measured) == 1:
        return measured[0]
    joined: dict[str, Measurement] = {}
    for name, first in measured[0].items():
        values = [one[name].value for one in measured]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            joined[name] = next(one[name] for one in measured if one[name].value is None)
            continue
        params = {
            "sample_sets": values,
            "sample_sets_sd": statistics.stdev(known),
            "first_set": dict(first.params),
        }
        intervals = [one[name].interval for one in measured]
        joined[name] = replace(
            first, value=statistics.fmean(known), params=params, interval=_mean(intervals)
        )
    return joined


def _mean(intervals: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    found = [interval for interval in intervals if interval is not None]
    if len(found) < len(intervals):
        return None
    bounds = {key: statistics.fmean(one[key] for one in found) for key in ("low", "high")}
    return {**found[0], **bounds, "method": f"{found[0]['method']}, mean over sample sets"}


def _with_replicas(
    measured: Mapping[str, Measurement], others: Sequence[Mapping[str, Measurement]]
) -> Mapping[str, Measurement]:
    """Adds the values with replicas of the extractor, on the first set of samples."""
    return {
        name: replace(one, params={**one.params, "replicas": [o[name].value for o in others]})
        for name, one in measured.items()
    }


def _record(spec: ValueSpec, metric: Metric, measurement: Measurement, context: Context) -> Record:
    reference, seeds, extractor = context.reference, context.seeds, context.extractor
    num = context.num if measurement.num is None else measurement.num
    identity = None if isinstance(extractor, MissingExtractor) else f"sha256:{extractor.sha256}"
    return Record(
        name=spec.name.format(extractor=extractor.name),
        value=measurement.value,
        unit=spec.unit.format(extractor_unit=extractor.unit),
        n_real=num,
        n_fake=num if metric.samples else None,
        reference={
            "dataset": reference.dataset,
            "split": reference.split,
            "sha256": reference.sha256,
        },
        extractor=identity if spec.uses_extractor else None,
        seed={"train": seeds.train, "sample": seeds.sample, "metric": seeds.metric},
        higher_is_better=spec.higher_is_better,
        ideal=spec.ideal,
        order=spec.order,
        params=measurement.params,
        interval=measurement.interval,
        reason=measurement.reason,
    )
