"""What a metric is: one file in `evaluation/metrics/` that exports `METRIC`.

To add one: `evaluation/metrics/<name>.py`, its name in `params.yaml: evaluate.metrics`, and a test
against a closed form or an independent implementation. The contract test finds it by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from evaluation.measuring import intervals
from evaluation.measuring.context import Context
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.records import Order


@dataclass(frozen=True)
class ValueSpec:
    """One value of a metric.

    Attributes:
        name: Its name; `{extractor}` stands for the extractor's name.
        unit: `nats/image`, `bits/dim`, `dB`, `fraction`, `ratio`, `z`, `raw`, or
            `{extractor_unit}`, which stands for that of the extractor's squared distances.
        higher_is_better: The direction, or None for a diagnostic.
        ideal: The target, where it is a point.
        order: Which order it has to put the reference rows in, if it has a direction: that of
            `quality`, or of `novelty`, which copies of the training images lack.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    ideal: float | None = None
    order: Order = "quality"

    @property
    def uses_extractor(self) -> bool:
        """Whether the value depends on the extractor, which is then part of its name."""
        return "{extractor}" in self.name


@dataclass(frozen=True)
class Measurement:
    """A value with its by-products, or None with the reason."""

    value: float | None
    params: Mapping[str, Any] = field(default_factory=dict)
    interval: Mapping[str, Any] | None = None
    reason: str | None = None
    #: Images of each set that it looked at, where that is not all of them.
    num: int | None = None


@dataclass(frozen=True)
class Metric:
    """One metric, which may have several values.

    Attributes:
        name: The name of its file.
        requires: The protocols that a model must satisfy.
        values: What it measures: either all of it with an extractor, or none.
        every_set: Whether a model that samples is measured on every set of samples; False where
            one set costs too much or says enough.
        replicated: Whether it is measured with replicas of the first extractor, too: how far its
            ranking is that of one training of the extractor.
        compute: For each value's name (as in `values`) the measurement. It raises
            `UnavailableError` where all of them are null for one reason.
    """

    name: str
    requires: tuple[type, ...]
    values: tuple[ValueSpec, ...]
    compute: Callable[[Context], Mapping[str, float | Measurement]]
    every_set: bool = True
    replicated: bool = False

    @property
    def uses_extractor(self) -> bool:
        """Whether it is measured with each extractor."""
        return self.values[0].uses_extractor

    @property
    def samples(self) -> bool:
        """Whether it looks at generated images."""
        return Sampler in self.requires


def failure(reason: str, **params: Any) -> Measurement:
    """A null with its reason."""
    return Measurement(None, params, reason=reason)


def mean_over_images(values: Tensor, context: Context, **params: Any) -> Measurement:
    """The mean of per-image values (N,) float64, with its bootstrap interval."""
    interval = intervals.bootstrap_mean(values, context.seeds.metric)
    return Measurement(values.mean().item(), params, interval)
