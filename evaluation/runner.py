"""Computes metrics of one model and returns their records."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evaluation.measuring.context import Context, Seeds
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.protocols import Conditional, Sampler
from evaluation.measuring.real_images import RealImages, check_labels
from evaluation.measuring.records import Record, UnavailableError
from evaluation.metrics import load_metric


@dataclass(frozen=True)
class Settings:
    """The settings that the values of a model depend on, besides data and extractor.

    Attributes:
        seeds: Seeds of training, latents and metrics.
        max_samples: Largest number of images per set.
        sample_sets: Number of sets of samples (default 1), drawn with the seeds `seeds.sample`,
            `seeds.sample` + 1 and so on; a value is the mean over the sets.
        batch_size: Images per call of the model (default 250).
    """

    seeds: Seeds
    max_samples: int
    sample_sets: int = 1
    batch_size: int = 250

    def sets(self, metric: Metric, *, fixed: bool) -> int:
        """Number of sets of samples for a metric; `fixed` images are a single set."""
        return self.sample_sets if metric.samples and metric.every_set and not fixed else 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The records of one model, and its first set of samples.

    Attributes:
        records: In the order of the requested metrics and of the values of each.
        samples: (n, C, H, W) first set of samples before rounding; None if the model draws none.
    """

    records: tuple[Record, ...]
    samples: Tensor | None


class FixedImages:
    """A fixed set of images as a model, for example a reference row; returned in order."""

    conditional = False

    def __init__(self, images: Tensor, labels: Tensor | None = None) -> None:
        self.images, self.image_labels = images, labels
        self._returned = 0

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """The next n images; `rng` is unused."""
        start, self._returned = self._returned, self._returned + n
        return self.images[start : self._returned]


def metrics_of_images(names: Sequence[str], *, labelled: bool) -> list[str]:
    """Those of the metrics that need images only, or images with their classes."""
    enough = {Sampler, Conditional} if labelled else {Sampler}
    needs = {name: set(load_metric(name).requires) for name in names}
    return [name for name in names if needs[name] and needs[name] <= enough]


def evaluate(  # noqa: PLR0913  (all but two are keyword-only)
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
    """Computes metrics of a model.

    The number of generated images is that of the reference images, at most `max_samples`. A
    conditional model draws images of the reference's classes. Equal arguments give equal records;
    the global random state is neither used nor changed.

    Args:
        model: Any object; `evaluation.measuring.protocols` defines its capabilities.
        metrics: Names of files in `evaluation/metrics/`.
        reference: The real images to compare with, in random order.
        train: The real images that the model was trained on.
        valid: Real images for choices that must not use the reference; None if there are none.
        extractors: At least one; every feature metric is computed with each of them. A
            `MissingExtractor` gives null records with its reason.
        replicas: The first extractor, trained from other seeds. A `replicated` metric stores its
            values with them as `replicas` in `params`.
        settings: Seeds and sizes.
        progress: Called with the name of each metric before its computation.

    Raises:
        ValueError: A metric is unknown, there is no extractor, or the images of the model have a
            wrong shape or are no floats in [0, 1].
    """
    if not extractors:
        raise ValueError("extractors is empty; pass a MissingExtractor to evaluate without one")
    loaded = [load_metric(name) for name in metrics]
    reference = reference.first(settings.max_samples)
    seeds = settings.seeds
    context = Context(model, reference, train, valid, extractors[0], seeds, settings.batch_size)
    records: list[Record] = []
    for metric in loaded:
        progress(metric.name)
        for extractor in extractors if metric.uses_extractor else extractors[:1]:
            sets = settings.sets(metric, fixed=isinstance(model, FixedImages))
            views = [context.view(extractor, seeds.sample + i) for i in range(sets)]
            measurements = _mean_over_sets([_measure(metric, view) for view in views])
            if metric.replicated and extractor is extractors[0] and replicas:
                others = [_measure(metric, context.view(other, seeds.sample)) for other in replicas]
                measurements = _with_replicas(measurements, others)
            records += [
                _record(spec, metric, measurements[spec.name], views[0]) for spec in metric.values
            ]
    return Evaluation(tuple(records), context.sampled)


def evaluate_images(  # noqa: PLR0913  (all but two are keyword-only)
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
    """Computes metrics of a fixed set of images (N, C, H, W) in [0, 1], like samples of a model.

    Both sets have min(N, reference, max_samples) images, the first ones. `labels` are the (N,)
    classes of the images for the metrics that need them (default: none). For the other arguments
    see `evaluate`.

    Raises:
        ValueError: A metric is unknown, there is no extractor, the shapes differ, a pixel is
            outside [0, 1], or `labels` is not one integer from 0 per image.
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


def _mean_over_sets(per_set: Sequence[Mapping[str, Measurement]]) -> Mapping[str, Measurement]:
    """The mean of each value over the sets of samples; null if it is null on one of them.

    The interval is the mean of the intervals of the sets. It is at least as wide as the interval of
    the mean, because the sets share the real images. `first_set` in `params` has the secondary
    results of the first set.
    """
    if len(per_set) == 1:
        return per_set[0]
    means: dict[str, Measurement] = {}
    for name, first in per_set[0].items():
        values = [measured[name].value for measured in per_set]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            means[name] = next(
                measured[name] for measured in per_set if measured[name].value is None
            )
            continue
        params = {
            "sample_sets": values,
            "sample_sets_sd": statistics.stdev(known),
            "first_set": dict(first.params),
        }
        intervals = [measured[name].interval for measured in per_set]
        means[name] = replace(
            first, value=statistics.fmean(known), params=params, interval=_mean_interval(intervals)
        )
    return means


def _mean_interval(intervals: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(intervals):
        return None
    bounds = {key: statistics.fmean(interval[key] for interval in known) for key in ("low", "high")}
    return {**known[0], **bounds, "method": f"{known[0]['method']}, mean over sample sets"}


def _with_replicas(
    measurements: Mapping[str, Measurement], others: Sequence[Mapping[str, Measurement]]
) -> Mapping[str, Measurement]:
    """Adds the values of the first set of samples with replicas of the extractor to `params`."""
    return {
        name: replace(
            measurement,
            params={**measurement.params, "replicas": [other[name].value for other in others]},
        )
        for name, measurement in measurements.items()
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
