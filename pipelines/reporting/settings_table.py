"""The settings on the report page: those of the models, and the facts of the extractors' cards."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.comparing.value_text import rounded
from pipelines.reporting.differing import side_by_side
from pipelines.reporting.inputs import ModelResult


def facts(card: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The numbers and words of a nested mapping; long lists and tables stay in the file."""
    lines: list[tuple[str, str]] = []
    for key, value in card.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            lines += facts(value, f"{prefix}{key} ")
        elif isinstance(value, float):
            lines.append((name, rounded(value)))
        elif isinstance(value, list):
            if all(isinstance(part, int) for part in value) and len(value) <= 4:
                lines.append((name, " × ".join(map(str, value))))
        elif value is not None:
            lines.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
    return lines


def settings(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """A table per family: its settings down, its models across, lines that differ marked."""
    blocks = []
    for family in dict.fromkeys(model.row.family for model in models):
        members = [model for model in models if model.row.family == family]
        lines = side_by_side([model.settings for model in members])
        blocks.append({"family": family, "models": [m.row.name for m in members], "lines": lines})
    return blocks
