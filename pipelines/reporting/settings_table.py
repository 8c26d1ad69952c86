"""The settings of the report: of the models, and what the stages before say about their work."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reporting.inputs import ModelResult


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The numbers and words of a nested mapping; long lists and tables are left to the file."""
    lines: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(item, Mapping):
            lines += flat(item, f"{prefix}{key} ")
        elif isinstance(item, float):
            lines.append((name, f"{item:.4g}"))
        elif isinstance(item, list):
            if all(isinstance(part, int) for part in item) and len(item) <= 4:
                lines.append((name, " × ".join(map(str, item))))
        elif item is not None:
            lines.append((name, f"{item:,}" if isinstance(item, int) else str(item)))
    return lines


def settings(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """For each family a table: its settings down, its models across, what differs marked."""
    blocks = []
    for family in dict.fromkeys(model.row.family for model in models):
        members = [model for model in models if model.row.family == family]
        lines = []
        for key in dict.fromkeys(key for model in members for key in model.settings):
            values = [
                shown(model.settings[key]) if key in model.settings else "" for model in members
            ]
            lines.append({"key": key, "values": values, "differs": len(set(values)) > 1})
        blocks.append({"family": family, "models": [m.row.name for m in members], "lines": lines})
    return blocks


def shown(value: Any) -> str:
    """A setting as params.yaml writes it."""
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
