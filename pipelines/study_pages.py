"""What the pages of studies share: tables in Markdown, values over seeds, spent time."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.comparing.leaderboard import Cell
from evaluation.comparing.value_text import MISSING, decimals, mean_and_sd

#: The results of a row, by seed: a number, or text where they come from JSON.
Seeds = Mapping[Any, Mapping[str, Any]]


def values(results: Seeds, name: str) -> list[float]:
    """The values of the seeds that have one."""
    found = (result["values"].get(name) for result in results.values())
    return [value for value in found if value is not None]


def cell(found: Sequence[float]) -> Cell:
    """Mean and standard deviation (ddof 1) over seeds."""
    mean = statistics.fmean(found) if found else None
    return Cell(mean, statistics.stdev(found) if len(found) > 1 else None, len(found), None)


def table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown: the first `left` columns to the left, the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *lines])


def columns(rows: Mapping[str, Seeds], names: Sequence[str]) -> dict[str, list[str]]:
    """For each row its cells, the numbers of a column with as many digits as one another."""
    cells = {row: [cell(values(seeds, name)) for name in names] for row, seeds in rows.items()}
    places = [decimals(c.mean for c in column) for column in zip(*cells.values(), strict=True)]
    return {
        row: [mean_and_sd(c.mean, c.std, digits) for c, digits in zip(line, places, strict=True)]
        for row, line in cells.items()
    }


def measured(rows: Mapping[str, Seeds]) -> list[str]:
    """The names of all values that some row has, in the order of their measurement."""
    names = dict.fromkeys(
        name
        for seeds in rows.values()
        for result in seeds.values()
        for name, value in result["values"].items()
        if value is not None
    )
    return list(names)


def average_timing(seeds: Seeds, key: str) -> float | None:
    """The mean over the seeds of something that was timed in training; None where nothing was."""
    found = [result["timing"][key] for result in seeds.values() if result["timing"]]
    return statistics.fmean(found) if found else None


def cpu_seconds(result: Mapping[str, Any]) -> float:
    """What a result cost, training and measuring."""
    training = (result["timing"] or {}).get("cpu_seconds", 0.0)
    return float(training + result["measuring"]["cpu_seconds"])


def code(text: object) -> str:
    """Inline code."""
    return f"`{text}`"


def show(value: Any) -> str:
    """A setting as in the YAML file it comes from."""
    if isinstance(value, list):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(part)}" for key, part in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def shared_and_own(
    entries: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings that all rows have in common, and those of each row that are its own."""
    first = next(iter(entries.values()))
    shared = {
        key: value
        for key, value in first.items()
        if all(key in entry and entry[key] == value for entry in entries.values())
    }
    own = {
        row: {key: value for key, value in entry.items() if key not in shared}
        for row, entry in entries.items()
    }
    return shared, own


def settings_line(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return ", ".join(f"{key} {show(value)}" for key, value in settings.items()) or MISSING
