"""What an evaluation would compute, and what each value needs, before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation import metrics as registry
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.runner import FixedImages, Settings


@dataclass(frozen=True)
class Planned:
    """One metric with one extractor.

    Attributes:
        metric: The name of its file.
        values: The names of its values.
        needs: What a model must offer: names of `evaluation.measuring.protocols`.
        sets: How many sets of samples it is computed on; None where it draws none.
        missing: The reason why all of it will be null; None where it will be computed.
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
) -> list[Planned]:
    """What `evaluation.runner.evaluate` would compute, in its order.

    Args:
        model: Its protocols are looked at; nothing of it is called.
        metrics: Names of files in `evaluation/metrics/`.
        extractors: As `evaluate` takes them.
        settings: Likewise.

    Raises:
        ValueError: A metric is unknown.
    """
    found = []
    for metric in map(registry.load, metrics):
        sets = settings.sets(metric, fixed=isinstance(model, FixedImages))
        for extractor in extractors if metric.uses_extractor else extractors[:1]:
            missing = None
            if not all(isinstance(model, protocol) for protocol in metric.requires):
                missing = "not_supported"
            elif metric.uses_extractor and isinstance(extractor, MissingExtractor):
                missing = extractor.reason
            found.append(
                Planned(
                    metric.name,
                    tuple(spec.name.format(extractor=extractor.name) for spec in metric.values),
                    tuple(protocol.__name__ for protocol in metric.requires),
                    sets if metric.samples else None,
                    missing,
                )
            )
    return found


def as_text(planned: Sequence[Planned]) -> str:
    """A table: a line for each metric."""
    lines = [("metric", "values", "needs", "sample sets", "")]
    for one in planned:
        sets = "" if one.sets is None else str(one.sets)
        null = "" if one.missing is None else f"null: {one.missing.replace('_', ' ')}"
        lines.append((one.metric, ", ".join(one.values), ", ".join(one.needs), sets, null))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{part:{width}}" for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
