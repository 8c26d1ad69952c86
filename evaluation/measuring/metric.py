"""The interface of a metric: one file in `evaluation/metrics/` that exports `METRIC`.

To add a metric, write `evaluation/metrics/<name>.py`, add its name to `params.yaml:
evaluate.metrics`, and write a test against a closed form or an independent implementation. The
contract test covers every file in the folder.
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
        name: Its name; `{extractor}` is replaced by the extractor's name.
        unit: `nats/image`, `bits/dim`, `dB`, `fraction`, `ratio`, `z`, `raw`, or
            `{extractor_unit}`, which is replaced by the unit of the extractor's squared distances.
        higher_is_better: The direction; None for a diagnostic.
        ideal: The target value; None if there is no single one.
        order: The order that the reference rows must have if the value has a direction: `quality`
            (default), or `novelty`, by which copies of training images are worst.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    ideal: float | None = None
    order: Order = "quality"

    @property
    def uses_extractor(self) -> bool:
        """Whether the value depends on the extractor, whose name is then part of its name."""
        return "{extractor}" in self.name


@dataclass(frozen=True)
class Measurement:
    """A value with its secondary results, or None with the reason."""

    value: float | None
    params: Mapping[str, Any] = field(default_factory=dict)
    interval: Mapping[str, Any] | None = None
    reason: str | None = None
    #: Number of images used of each set; None for all of them.
    num: int | None = None


@dataclass(frozen=True)
class Metric:
    """One metric, which may have several values.

    Attributes:
        name: The name of its file.
        requires: The protocols that a model must satisfy.
        values: Its values; either all of them depend on an extractor, or none does.
        compute: Returns the measurement by value name (as in `values`). Raises `UnavailableError`
            if all values are null for the same reason.
        every_set: Whether it is computed on every set of samples (default); False if it is slow, or
            if a mean over the sets has no meaning.
        replicated: Whether it is also computed with replicas of the first extractor, to show how
            much its ranking depends on one training of the extractor (default: no).
    """

    name: str
    requires: tuple[type, ...]
    values: tuple[ValueSpec, ...]
    compute: Callable[[Context], Mapping[str, float | Measurement]]
    every_set: bool = True
    replicated: bool = False

    @property
    def uses_extractor(self) -> bool:
        """Whether it is computed once per extractor."""
        return self.values[0].uses_extractor

    @property
    def samples(self) -> bool:
        """Whether it uses generated images."""
        return Sampler in self.requires


def failure(reason: str, **params: Any) -> Measurement:
    """A null value with its reason."""
    return Measurement(None, params, reason=reason)


def mean_over_images(values: Tensor, context: Context, **params: Any) -> Measurement:
    """The mean of per-image values (N,) float64, with its bootstrap interval."""
    interval = intervals.bootstrap_mean(values, context.seeds.metric)
    return Measurement(values.mean().item(), params, interval)
