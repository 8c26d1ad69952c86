"""One measured value with everything needed to interpret it, as valid JSON."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Order = Literal["quality", "novelty"]


class UnavailableError(Exception):
    """A metric has no value; the message is the `reason` of its record."""


@dataclass(frozen=True)
class Record:
    """One value. No field depends on time or machine: equal inputs give equal bytes.

    Attributes:
        name: Name in lower case; ends with the extractor's name if the metric uses one.
        value: The value, or None with a `reason`.
        unit: For example `nats/image` or `percent of real feature variance`.
        n_real: Number of real images; None if only their statistics are known.
        n_fake: Number of generated images; None if the metric draws none.
        reference: `dataset`, `split` and `sha256` of the real images.
        extractor: `sha256:...` of the feature extractor; None if the metric uses none.
        seed: `train`, `sample` and `metric`.
        higher_is_better: The direction; None for a diagnostic.
        ideal: The target value; None if there is no single one.
        order: The order that the reference rows must have: `quality` or `novelty`.
        params: Settings of the computation and secondary results.
        interval: `method`, `level`, `low`, `high` and the method's own fields, such as `resamples`
            or `count`; None if there is no valid interval.
        reason: Why there is no value, for example `not_supported`; None if there is a value.
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
        """Replaces NaN and infinity, which JSON lacks, by null; requires a reason for null."""
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "interval", None)
            object.__setattr__(self, "reason", "non_finite_value")
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"{self.name}: a record has either a value or a reason")

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values, with the keys in the order above."""
        return asdict(self)


def summarise(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (ddof=1) and count over the seeds of each value.

    Args:
        records: The records by seed, in the same order for all seeds.

    Returns:
        `mean`, `std`, `n` by value name; and the `reason` of the first seed if no seed has a value.
    """
    summary: dict[str, dict[str, Any]] = {}
    for per_seed in zip(*records.values(), strict=True):
        values = [record["value"] for record in per_seed if record["value"] is not None]
        entry: dict[str, Any] = {
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
        }
        if not values:
            entry["reason"] = per_seed[0]["reason"]
        summary[per_seed[0]["name"]] = entry
    return summary
