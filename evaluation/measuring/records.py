"""One measured value with everything that gives it meaning, as legal JSON."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Order = Literal["quality", "novelty"]


@dataclass(frozen=True)
class Record:
    """One value. Nothing in it depends on a clock, a host or a store: equal inputs, equal bytes.

    Attributes:
        name: Lower case; the extractor's name is part of it where one is used.
        value: The value, or None with a `reason`.
        unit: Such as `nats/image` or `percent of real feature variance`.
        n_real: Real images compared with; None where only their statistics are known.
        n_fake: Generated images, or None where the metric draws none.
        reference: `dataset`, `split` and `sha256` of the real images.
        extractor: `sha256:...` of the feature extractor, or None where none is used.
        seed: `train`, `sample` and `metric`.
        higher_is_better: The direction, or None for a diagnostic.
        ideal: The target, where it is a point.
        order: Which order of the reference rows is expected of it: `quality` or `novelty`.
        params: What the value was computed with, and its by-products.
        interval: `method`, `level`, `low`, `high`, and what the method needs beside them, such as
            `resamples` or `count`; where a valid one exists.
        reason: Why there is no value, such as `not_supported`; None where there is one.
    """

    name: str
    value: float | None
    unit: str
    n_real: int | None
    n_fake: int | None
    reference: Mapping[str, str]
    extractor: str | None
    seed: Mapping[str, int | None]
    higher_is_better: bool | None
    ideal: float | None
    order: Order
    params: Mapping[str, Any] = field(default_factory=dict)
    interval: Mapping[str, Any] | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        """A value that JSON cannot hold becomes null with a reason; a null has to have one."""
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "interval", None)
            object.__setattr__(self, "reason", "non_finite_value")
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"{self.name}: a record has either a value or a reason")

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values, its keys in the order above."""
        return asdict(self)


def summarise(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (ddof 1) and count over seeds of each value.

    Args:
        records: The records of each seed, in the same order for all.

    Returns:
        By value name; a value that no seed has keeps the first reason.
    """
    summary: dict[str, dict[str, Any]] = {}
    for same in zip(*records.values(), strict=True):
        values = [record["value"] for record in same if record["value"] is not None]
        entry: dict[str, Any] = {
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
        }
        if not values:
            entry["reason"] = same[0]["reason"]
        summary[same[0]["name"]] = entry
    return summary
