"""The page of the published results that were made again, from the numbers of the studies."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from evaluation.comparing.value_text import MINUS, MISSING, number
from pipelines import study_pages as pages
from pipelines.settings.code_version import training_version

Document = Mapping[str, Any]
#: Results by row and seed; seeds are strings, as JSON has no other keys.
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]

INTRODUCTION = """\
# Published results, made again

`make reproduce` trains and measures what the files of `reproductions/` say and writes this page.
All values are of the test split; nll is the importance-weighted bound with the number of draws
behind its name, nats per image. fid_classifier is a distance in the features of a small classifier
trained on the train split, not the Inception FID of papers. What agrees with a claim was decided
before the run. CPU-minutes were measured with one thread a process and depend on the machine and
on what else ran on it.
"""

AGREES, DISAGREES, OPEN = "agrees", "does not agree", "not comparable"


def render(documents: Sequence[Document]) -> str:
    """The page.

    Args:
        documents: Of each study its file in `reports/reproductions/`.
    """
    parts = [INTRODUCTION, _summary(documents), *map(_section, documents)]
    return "\n".join(parts)


def _summary(documents: Sequence[Document]) -> str:
    lines = []
    for document in documents:
        study = document["study"]
        minutes = f"{_minutes(document['results']):.0f}"
        for claim in study["claims"]:
            found = compared(claim, document["results"])
            shown = [claim["text"], _mean(found), _limit(claim["published"])]
            lines.append([study["title"], *shown, verdict(claim, found), minutes])
        if not study["claims"]:
            lines.append([study["title"], "open: see below", MISSING, MISSING, MISSING, minutes])
    header = ["study", "claim", "here", "published", "verdict", "CPU-minutes"]
    return pages.table(header, lines, left=2)


def _section(document: Document) -> str:
    study, results = document["study"], document["results"]
    parts = [f"## {study['title']}\n", f"Published: {study['published'].strip()}\n"]
    names = pages.measured(results)
    cells = pages.columns(results, names)
    shared, own = pages.shared_and_own(study["rows"])
    header = ["row", *names, "parameters", "CPU-minutes a seed"]
    parts.append(
        pages.table(
            header,
            [[pages.code(row), *cells[row], *_cost(seeds)] for row, seeds in results.items()],
        )
    )
    parts.append(_claims(study["claims"], results))
    seeds = ", ".join(map(str, study["seeds"]))
    spread = "Mean ± standard deviation over the seeds" if len(study["seeds"]) > 1 else "Seed"
    parts.append(f"{spread} {seeds}. {_machine(results)}\n")
    parts.append(f"Conditions: {_data(document)} {pages.settings_line(shared)}.\n")
    if any(own.values()):
        parts.append(
            "".join(
                f"- {pages.code(row)}: {pages.settings_line(settings)}\n"
                for row, settings in own.items()
            )
        )
    if study["deviations"]:
        deviations = "".join(f"- {text}\n" for text in study["deviations"])
        parts.append(f"Deviations from what was published:\n\n{deviations}")
    if stale := _stale(study["rows"], results):
        parts.append(f"Made with other code than the present one: {', '.join(stale)}.\n")
    return "\n".join(part for part in parts if part)


def _cost(seeds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    parameters = next(iter(seeds.values()))["cost"]["num_parameters"]
    spent = statistics.fmean(map(pages.cpu_seconds, seeds.values())) / 60
    return [f"{parameters:,}", f"{spent:.1f}"]


def _minutes(results: Results) -> float:
    return sum(pages.cpu_seconds(one) for seeds in results.values() for one in seeds.values()) / 60


def _data(document: Document) -> str:
    counts = document["splits"]
    text = (
        f"{document['study']['prepare']['dataset']}, {counts['train']:,} training, "
        f"{counts['valid']:,} validation and {counts['test']:,} test images;"
    )
    if document["accuracy"] is not None:
        text += f" extractor of test accuracy {document['accuracy']:.4f};"
    return text


def _machine(results: Results) -> str:
    timings = [one["timing"] for seeds in results.values() for one in seeds.values()]
    devices = sorted({timing["device"] for timing in timings})
    versions = sorted({timing["versions"]["torch"] for timing in timings})
    return f"Trained on {', '.join(devices)} with torch {', '.join(versions)}."


def _stale(rows: Mapping[str, Any], results: Results) -> list[str]:
    versions = {kind: training_version(kind) for kind in {entry["kind"] for entry in rows.values()}}
    return [
        f"{pages.code(row)} seed {seed}"
        for row, seeds in results.items()
        for seed, result in seeds.items()
        if result["code"] != versions[rows[row]["kind"]]
    ]


def _claims(claims: Sequence[Mapping[str, Any]], results: Results) -> str:
    if not claims:
        return ""
    lines = []
    for claim in claims:
        found = compared(claim, results)
        each = ", ".join(_limit(value) for value in found.values())
        shown = [_of(claim), _mean(found), each, _limit(claim["published"]), _range(claim)]
        lines.append([claim["text"], *shown, verdict(claim, found)])
    header = ["claim", "what", "here", "by seed", "published", "agrees within", "verdict"]
    return pages.table(header, lines, left=2)


def _range(claim: Mapping[str, Any]) -> str:
    low, high = claim["low"], claim["high"]
    if low is None:
        return f"at most {_limit(high)}"
    return f"at least {_limit(low)}" if high is None else f"{_limit(low)} to {_limit(high)}"


def _of(claim: Mapping[str, Any]) -> str:
    of, against = claim["of"], claim["against"]
    text = f"`{of['row']}` {of['value']}"
    if against is None:
        return text
    sign = MINUS if claim["form"] == "difference" else "/"
    if "rows" in against:
        along = ", ".join(f"`{row}`" for row in against["rows"])
        return f"{text} {sign} {against['value']} between {along} at equal {against['equal']}"
    return f"{text} {sign} `{against['row']}` {against['value']}"


def compared(claim: Mapping[str, Any], results: Results) -> dict[str, float | None]:
    """What a claim is about, by seed.

    Returns:
        None where a value is missing, or lies outside the polyline that it is compared with.
    """
    row = claim["of"]["row"]
    return {seed: _compare(claim, results, seed) for seed in results[row]}


def _compare(claim: Mapping[str, Any], results: Results, seed: str) -> float | None:
    of, against = claim["of"], claim["against"]
    value = _value(results, of["row"], of["value"], seed)
    if against is None or value is None:
        return value
    if "rows" in against:
        at = _value(results, of["row"], against["equal"], seed)
        other = None if at is None else _between(against, results, seed, at)
    else:
        other = _value(results, against["row"], against["value"], seed)
    if other is None:
        return None
    return value - other if claim["form"] == "difference" else value / other


def _value(results: Results, row: str, name: str, seed: str) -> float | None:
    found: float | None = results[row][seed]["values"].get(name)
    return found


def _between(against: Mapping[str, Any], results: Results, seed: str, at: float) -> float | None:
    """The value of the polyline through the rows where the other value is `at`."""
    points = sorted(
        (x, y)
        for row in against["rows"]
        if (x := _value(results, row, against["equal"], seed)) is not None
        and (y := _value(results, row, against["value"], seed)) is not None
    )
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= at <= x1 and x0 < x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def verdict(claim: Mapping[str, Any], found: Mapping[str, float | None]) -> str:
    """Whether the mean over the seeds agrees with a claim."""
    values = [value for value in found.values() if value is not None]
    if not values:
        return OPEN
    mean, low, high = statistics.fmean(values), claim["low"], claim["high"]
    fits = (low is None or low <= mean) and (high is None or mean <= high)
    return AGREES if fits else DISAGREES


def _mean(found: Mapping[str, float | None]) -> str:
    values = [value for value in found.values() if value is not None]
    return _limit(statistics.fmean(values) if values else None)


def _limit(value: float | None) -> str:
    return number(value, 2)
