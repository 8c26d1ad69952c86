"""The values that an evaluation will compute, with their requirements; computes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.metrics import load_metric
from evaluation.runner import FixedImages, Settings


@dataclass(frozen=True)
class PlannedMetric:
    """One metric with one extractor.

    Attributes:
        metric: The name of its file.
        values: The names of its values.
        needs: Names of the protocols in `evaluation.measuring.protocols` that it requires.
        sets: Number of sets of samples; None if it draws no samples.
        missing: The reason why all of its values will be null; None if it will be computed.
    """

    metric: str
    values: tuple[str, ...]
    needs: tuple[str, ...]
    sets: int | None
    missing: str | None


def plan(
    model: object,
    metrics: Sequence[str],
    extractors: Sequence[FeatureExtractor | MissingExtractor],
    settings: Settings,
) -> list[PlannedMetric]:
    """The metrics that `evaluation.runner.evaluate` computes with the same arguments, in order.

    Args:
        model: The model; its protocols are checked, no method is called.
        metrics: Names of files in `evaluation/metrics/`.
        extractors: See `evaluate`.
        settings: See `evaluate`.

    Raises:
        ValueError: A metric is unknown.
    """
    planned = []
    for metric in map(load_metric, metrics):
        sets = settings.sets(metric, fixed=isinstance(model, FixedImages))
        for extractor in extractors if metric.uses_extractor else extractors[:1]:
            missing = None
            if not all(isinstance(model, protocol) for protocol in metric.requires):
                missing = "not_supported"
            elif metric.uses_extractor and isinstance(extractor, MissingExtractor):
                missing = extractor.reason
            planned.append(
                PlannedMetric(
                    metric.name,
                    tuple(spec.name.format(extractor=extractor.name) for spec in metric.values),
                    tuple(protocol.__name__ for protocol in metric.requires),
                    sets if metric.samples else None,
                    missing,
                )
            )
    return planned


def as_text(planned: Sequence[PlannedMetric]) -> str:
    """A table with one line per metric and extractor."""
    lines = [("metric", "values", "needs", "sample sets", "")]
    for metric in planned:
        sets = "" if metric.sets is None else str(metric.sets)
        null = "" if metric.missing is None else f"null: {metric.missing.replace('_', ' ')}"
        lines.append((metric.metric, ", ".join(metric.values), ", ".join(metric.needs), sets, null))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
