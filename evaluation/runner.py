"""Runs metrics on one model and writes down what they say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation import metric as registry
from evaluation.context import Context, RealImages, Seeds, UnavailableError
from evaluation.features import EXTRACTOR_NAME, Extractor
from evaluation.metric import Measurement, Metric, ValueSpec, failure
from evaluation.protocols import Sampler
from evaluation.records import Record


@dataclass(frozen=True)
class Settings:
    """What decides the values of a given model besides the data and the extractor.

    Attributes:
        seeds: Of training, latents and metrics.
        max_samples: At most so many images on each side.
        batch_size: Images per call of the model.
    """

    seeds: Seeds
    max_samples: int
    batch_size: int = 250


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured, and the images that it was measured on.

    Attributes:
        records: In the order of the metrics asked for, and of the values of each.
        samples: (n, C, H, W), as the model drew them; None where it draws none.
    """

    records: tuple[Record, ...]
    samples: Tensor | None


class FixedImages:
    """A set of images in the place of a model: a reference row, dealt in order."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self._dealt = 0

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """The next n images; `rng` is not used."""
        start, self._dealt = self._dealt, self._dealt + n
        return self.images[start : self._dealt]


def evaluate(
    model: object,
    metrics: Sequence[str],
    *,
    reference: RealImages,
    train: RealImages,
    extractor: Extractor | None,
    settings: Settings,
    progress: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Measures a model.

    As many images are generated as there are reference images, at most `max_samples`; of a
    conditional model, images of the reference's classes. Equal arguments give equal records; the
    global random state is neither used nor changed.

    Args:
        model: Anything; what it can do is told by `evaluation.protocols`.
        metrics: Names of files in `evaluation/metrics/`.
        reference: The real images to compare with, in random order.
        train: The real images that the model was trained on.
        extractor: The feature extractor; None gives null records with reason `no_extractor`.
        settings: Seeds and sizes.
        progress: Called with each metric's name before it is computed.

    Raises:
        ValueError: A metric is unknown, or the model's images have a wrong shape.
    """
    loaded = [registry.load(name) for name in metrics]
    reference = reference.first(settings.max_samples)
    context = Context(model, reference, train, extractor, settings.seeds, settings.batch_size)
    records: list[Record] = []
    for metric in loaded:
        progress(metric.name)
        measured = _measure(metric, context)
        records += [_record(spec, metric, measured[spec.name], context) for spec in metric.values]
    return Evaluation(tuple(records), context.sampled)


def evaluate_images(
    images: Tensor,
    metrics: Sequence[str],
    *,
    reference: RealImages,
    train: RealImages,
    extractor: Extractor | None,
    settings: Settings,
) -> Evaluation:
    """Scores a fixed set of images (N, C, H, W) as if a model had drawn them.

    Both sides have min(N, reference, max_samples) images. For the arguments see `evaluate`.
    """
    reference = reference.first(len(images))
    return evaluate(
        FixedImages(images),
        metrics,
        reference=reference,
        train=train,
        extractor=extractor,
        settings=settings,
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


def _record(spec: ValueSpec, metric: Metric, measurement: Measurement, context: Context) -> Record:
    reference, seeds, extractor = context.reference, context.seeds, context.extractor
    return Record(
        name=spec.name.format(extractor=extractor.name if extractor else EXTRACTOR_NAME),
        value=measurement.value,
        unit=spec.unit,
        n_real=context.num,
        n_fake=context.num if Sampler in metric.requires else None,
        reference={
            "dataset": reference.dataset,
            "split": reference.split,
            "sha256": reference.sha256,
        },
        extractor=f"sha256:{extractor.sha256}" if extractor and spec.uses_extractor else None,
        seed={"train": seeds.train, "sample": seeds.sample, "metric": seeds.metric},
        higher_is_better=spec.higher_is_better,
        ideal=spec.ideal,
        params=measurement.params,
        interval=measurement.interval,
        reason=measurement.reason,
    )
