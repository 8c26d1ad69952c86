"""The page of the reproductions: their values, and their verdicts on published claims."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from evaluation.comparing.value_text import MINUS, MISSING, decimals, mean_and_sd, number
from pipelines.settings.code_version import training_version

Document = Mapping[str, Any]
Values = Mapping[str, float | None]
#: Results by model and seed; seeds are strings, as JSON has no other keys.
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]

INTRODUCTION = """\
# Published results, reproduced

`make reproduce` trains and measures the models of `reproductions/` and writes this page. All values
are of the test split. `nll_<K>` is the importance-weighted bound from K draws, nats per image, of
all test images or of the first ones. `fid_classifier` is a distance in the features of a small
classifier trained on the train split, not the Inception FID of papers. `fid_gmm_<k>_classifier` and
`fid_standard_normal_classifier` are the same distance of samples whose codes come from a mixture of
k components, fitted to the training codes, or from N(0, I). Acceptance ranges were fixed before
running. CPU-minutes were measured with one thread per process; they depend on the machine and on
its load.
"""


def page(documents: Sequence[Document]) -> str:
    """The page, from the files of `reports/reproductions/`."""
    lines = []
    for document in documents:
        title, claims = document["settings"]["title"], document["settings"]["claims"]
        minutes = f"{sum(map(_cpu_seconds, _each(document['results']))) / 60:.0f}"
        for claim in claims:
            values = compared(claim, document["results"])
            cells = [claim["text"], number(_mean(values), 2), number(claim["published"], 2)]
            lines.append([title, *cells, verdict(claim, values), minutes])
        if not claims:
            lines.append([title, "open: see below", *[MISSING] * 3, minutes])
    header = ["reproduction", "claim", "here", "published", "verdict", "CPU-minutes"]
    summary = _table(header, lines, left=2)
    return "\n".join([INTRODUCTION, summary, *map(_section, documents)])


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown: the first `left` columns to the left, the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *lines])


def _section(document: Document) -> str:
    settings, results, counts = document["settings"], document["results"], document["splits"]
    entries, accuracy = settings["models"], document["accuracy"]
    first, *others = entries.values()
    shared = {k: v for k, v in first.items() if all(k in e and e[k] == v for e in others)}
    own = {
        model: {key: value for key, value in entry.items() if key not in shared}
        for model, entry in entries.items()
    }
    timings = [result["timing"] for result in _each(results)]
    devices = ", ".join(sorted({timing["device"] for timing in timings}))
    versions = ", ".join(sorted({timing["versions"]["torch"] for timing in timings}))
    spread = "Mean ± standard deviation over the seeds" if len(settings["seeds"]) > 1 else "Seed"
    extractor = "" if accuracy is None else f" extractor of test accuracy {accuracy:.4f};"
    parts = [
        f"## {settings['title']}\n",
        f"Published: {settings['published'].strip()}\n",
        _values(results),
        _claims(settings["claims"], results),
        f"{spread} {', '.join(map(str, settings['seeds']))}. Trained on {devices} with torch "
        f"{versions}.\n",
        f"Conditions: {settings['prepare']['dataset']}, {counts['train']:,} training, "
        f"{counts['valid']:,} validation and {counts['test']:,} test images;{extractor} "
        f"{_setting_line(shared)}.\n",
        "".join(f"- `{model}`: {_setting_line(one)}\n" for model, one in own.items() if one),
    ]
    if settings["deviations"]:
        deviations = "".join(f"- {text}\n" for text in settings["deviations"])
        parts.append(f"Deviations from the publication:\n\n{deviations}")
    current = {entry["kind"]: training_version(entry["kind"]) for entry in entries.values()}
    old = [
        f"`{model}` seed {seed}"
        for model, seeds in results.items()
        for seed, result in seeds.items()
        if result["code"] != current[entries[model]["kind"]]
    ]
    if old:
        which = "all" if len(old) == len(timings) else ", ".join(old)
        parts.append(f"Results of another version of the code: {which}.\n")
    return "\n".join(part for part in parts if part)


def _each(results: Results) -> list[Mapping[str, Any]]:
    return [result for seeds in results.values() for result in seeds.values()]


def _cpu_seconds(result: Mapping[str, Any]) -> float:
    return float(result["timing"]["cpu_seconds"] + result["measuring"]["cpu_seconds"])


def _values(results: Results) -> str:
    """The values of the models over their seeds; a column has one number of decimals."""
    columns: dict[str, list[str]] = {"model": [f"`{model}`" for model in results]}
    each = _each(results)
    for name in dict.fromkeys(name for result in each for name in result["values"]):
        rows = [
            [value for one in seeds.values() if (value := one["values"].get(name)) is not None]
            for seeds in results.values()
        ]
        if any(rows):
            means = [fmean(row) if row else None for row in rows]
            places = decimals(means)
            columns[name] = [
                mean_and_sd(mean, stdev(row) if len(row) > 1 else None, places)
                for mean, row in zip(means, rows, strict=True)
            ]
    firsts = [next(iter(seeds.values())) for seeds in results.values()]
    columns["parameters"] = [f"{first['cost']['num_parameters']:,}" for first in firsts]
    seconds = [fmean(map(_cpu_seconds, seeds.values())) for seeds in results.values()]
    columns["CPU-minutes per seed"] = [f"{of_model / 60:.1f}" for of_model in seconds]
    return _table(list(columns), zip(*columns.values(), strict=True))


def _setting_line(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_setting(value)}" for key, value in settings.items()) or MISSING


def _setting(value: Any) -> str:
    """A setting as YAML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_setting, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_setting(part)}' for key, part in value.items())}}}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _claims(claims: Sequence[Mapping[str, Any]], results: Results) -> str:
    lines = []
    for claim in claims:
        values = compared(claim, results)
        low, high = number(claim["low"], 2), number(claim["high"], 2)
        within = f"{low} to {high}"
        if claim["low"] is None or claim["high"] is None:
            within = f"at most {high}" if claim["low"] is None else f"at least {low}"
        by_seed = ", ".join(number(value, 2) for value in values.values())
        cells = [number(_mean(values), 2), by_seed]
        cells += [number(claim["published"], 2), within, verdict(claim, values)]
        lines.append([claim["text"], _sides(claim), *cells])
    header = ["claim", "what", "here", "by seed", "published", "agrees within", "verdict"]
    return _table(header, lines, left=2) if lines else ""


def _sides(claim: Mapping[str, Any]) -> str:
    of, against = claim["of"], claim["against"]
    text = f"`{of['model']}` {of['value']}"
    if against is None:
        return text
    sign = MINUS if claim["form"] == "difference" else "/"
    if "models" in against:
        along = ", ".join(f"`{model}`" for model in against["models"])
        return f"{text} {sign} {against['value']} between {along} at equal {against['equal']}"
    return f"{text} {sign} `{against['model']}` {against['value']}"


def compared(claim: Mapping[str, Any], results: Results) -> dict[str, float | None]:
    """The value of a claim's form, by seed.

    Returns:
        None where a value is missing, or lies outside the polyline that it is compared with.
    """
    return {
        seed: _compare(claim, {model: seeds[seed]["values"] for model, seeds in results.items()})
        for seed in results[claim["of"]["model"]]
    }


def _compare(claim: Mapping[str, Any], values: Mapping[str, Values]) -> float | None:
    of, against = values[claim["of"]["model"]], claim["against"]
    value = of.get(claim["of"]["value"])
    if against is None or value is None:
        return value
    if "models" in against:
        other = _between(against, values, of.get(against["equal"]))
    else:
        other = values[against["model"]].get(against["value"])
    if other is None:
        return None
    return value - other if claim["form"] == "difference" else value / other


def _between(
    against: Mapping[str, Any], values: Mapping[str, Values], at: float | None
) -> float | None:
    """The value of the polyline through the models where the other value is `at`."""
    pairs = [[values[m].get(against[key]) for key in ("equal", "value")] for m in against["models"]]
    points = sorted((x, y) for x, y in pairs if x is not None and y is not None)
    for (x0, y0), (x1, y1) in pairwise(points):
        if at is not None and x0 <= at <= x1 and x0 < x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def verdict(claim: Mapping[str, Any], values: Mapping[str, float | None]) -> str:
    """Whether the mean over the seeds agrees with a claim."""
    mean, low, high = _mean(values), claim["low"], claim["high"]
    if mean is None:
        return "not comparable"
    fits = (low is None or low <= mean) and (high is None or mean <= high)
    return "agrees" if fits else "does not agree"


def _mean(values: Mapping[str, float | None]) -> float | None:
    known = [value for value in values.values() if value is not None]
    return fmean(known) if known else None
