"""The page of the reproductions: their values, and their verdicts on published claims."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from evaluation.comparing.value_text import MINUS, MISSING, decimals, mean_and_sd, number
from pipelines.settings.code_version import training_version

Document = Mapping[str, Any]
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

AGREES, DISAGREES, OPEN = "agrees", "does not agree", "not comparable"


def page(documents: Sequence[Document]) -> str:
    """The page.

    Args:
        documents: The files of `reports/reproductions/`.
    """
    return "\n".join([INTRODUCTION, _summary(documents), *map(_section, documents)])


def _table(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown: the first `left` columns to the left, the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, rule, *lines])


def _summary(documents: Sequence[Document]) -> str:
    lines = []
    for document in documents:
        settings, results = document["settings"], document["results"]
        minutes = f"{sum(map(_cpu_seconds, _each(results))) / 60:.0f}"
        for claim in settings["claims"]:
            values = compared(claim, results)
            cells = [claim["text"], _mean(values), _short(claim["published"])]
            lines.append([settings["title"], *cells, verdict(claim, values), minutes])
        if not settings["claims"]:
            lines.append([settings["title"], "open: see below", *[MISSING] * 3, minutes])
    header = ["reproduction", "claim", "here", "published", "verdict", "CPU-minutes"]
    return _table(header, lines, left=2)


def _section(document: Document) -> str:
    settings, results = document["settings"], document["results"]
    seeds = ", ".join(map(str, settings["seeds"]))
    spread = "Mean ± standard deviation over the seeds" if len(settings["seeds"]) > 1 else "Seed"
    shared, own = _shared_and_own(settings["models"])
    parts = [
        f"## {settings['title']}\n",
        f"Published: {settings['published'].strip()}\n",
        _values(results),
        _claims(settings["claims"], results),
        f"{spread} {seeds}. {_machine(results)}\n",
        f"Conditions: {_data(document)} {_settings_line(shared)}.\n",
        "".join(f"- `{model}`: {_settings_line(one)}\n" for model, one in own.items() if one),
    ]
    if settings["deviations"]:
        deviations = "".join(f"- {text}\n" for text in settings["deviations"])
        parts.append(f"Deviations from the publication:\n\n{deviations}")
    if old := _of_other_code(settings["models"], results):
        which = "all" if len(old) == len(_each(results)) else ", ".join(old)
        parts.append(f"Results of another version of the code: {which}.\n")
    return "\n".join(part for part in parts if part)


def _each(results: Results) -> list[Mapping[str, Any]]:
    return [result for seeds in results.values() for result in seeds.values()]


def _cpu_seconds(result: Mapping[str, Any]) -> float:
    return float(result["timing"]["cpu_seconds"] + result["measuring"]["cpu_seconds"])


def _values(results: Results) -> str:
    names = list(
        dict.fromkeys(
            name
            for result in _each(results)
            for name, value in result["values"].items()
            if value is not None
        )
    )
    columns = [_column(results, name) for name in names]
    lines = []
    for place, (model, seeds) in enumerate(results.items()):
        parameters = next(iter(seeds.values()))["cost"]["num_parameters"]
        minutes = statistics.fmean(map(_cpu_seconds, seeds.values())) / 60
        cells = [column[place] for column in columns]
        lines.append([f"`{model}`", *cells, f"{parameters:,}", f"{minutes:.1f}"])
    return _table(["model", *names, "parameters", "CPU-minutes per seed"], lines)


def _column(results: Results, name: str) -> list[str]:
    """A value of each model over its seeds, all with the same number of decimals."""
    rows = [
        [value for one in seeds.values() if (value := one["values"].get(name)) is not None]
        for seeds in results.values()
    ]
    means = [statistics.fmean(row) if row else None for row in rows]
    deviations = [statistics.stdev(row) if len(row) > 1 else None for row in rows]
    digits = decimals(means)
    pairs = zip(means, deviations, strict=True)
    return [mean_and_sd(mean, deviation, digits) for mean, deviation in pairs]


def _data(document: Document) -> str:
    counts, accuracy = document["splits"], document["accuracy"]
    text = (
        f"{document['settings']['prepare']['dataset']}, {counts['train']:,} training, "
        f"{counts['valid']:,} validation and {counts['test']:,} test images;"
    )
    return text if accuracy is None else f"{text} extractor of test accuracy {accuracy:.4f};"


def _machine(results: Results) -> str:
    timings = [result["timing"] for result in _each(results)]
    devices = sorted({timing["device"] for timing in timings})
    versions = sorted({timing["versions"]["torch"] for timing in timings})
    return f"Trained on {', '.join(devices)} with torch {', '.join(versions)}."


def _of_other_code(models: Mapping[str, Any], results: Results) -> list[str]:
    versions = {entry["kind"]: training_version(entry["kind"]) for entry in models.values()}
    return [
        f"`{model}` seed {seed}"
        for model, seeds in results.items()
        for seed, result in seeds.items()
        if result["code"] != versions[models[model]["kind"]]
    ]


def _shared_and_own(
    entries: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings that all models have in common, and those of each model that are its own."""
    first, *others = entries.values()
    shared = {
        key: value
        for key, value in first.items()
        if all(key in entry and entry[key] == value for entry in others)
    }
    own = {
        model: {key: value for key, value in entry.items() if key not in shared}
        for model, entry in entries.items()
    }
    return shared, own


def _settings_line(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_setting(value)}" for key, value in settings.items()) or MISSING


def _setting(value: Any) -> str:
    """A setting as YAML writes it."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_setting, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_setting(part)}" for key, part in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _claims(claims: Sequence[Mapping[str, Any]], results: Results) -> str:
    if not claims:
        return ""
    lines = []
    for claim in claims:
        values = compared(claim, results)
        each = ", ".join(map(_short, values.values()))
        cells = [_sides(claim), _mean(values), each, _short(claim["published"]), _range(claim)]
        lines.append([claim["text"], *cells, verdict(claim, values)])
    header = ["claim", "what", "here", "by seed", "published", "agrees within", "verdict"]
    return _table(header, lines, left=2)


def _range(claim: Mapping[str, Any]) -> str:
    low, high = claim["low"], claim["high"]
    if low is None:
        return f"at most {_short(high)}"
    return f"at least {_short(low)}" if high is None else f"{_short(low)} to {_short(high)}"


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
    return {seed: _compare(claim, results, seed) for seed in results[claim["of"]["model"]]}


def _compare(claim: Mapping[str, Any], results: Results, seed: str) -> float | None:
    of, against = claim["of"], claim["against"]
    value = _value(results, of["model"], of["value"], seed)
    if against is None or value is None:
        return value
    if "models" in against:
        at = _value(results, of["model"], against["equal"], seed)
        other = None if at is None else _between(against, results, seed, at)
    else:
        other = _value(results, against["model"], against["value"], seed)
    if other is None:
        return None
    return value - other if claim["form"] == "difference" else value / other


def _value(results: Results, model: str, name: str, seed: str) -> float | None:
    value: float | None = results[model][seed]["values"].get(name)
    return value


def _between(against: Mapping[str, Any], results: Results, seed: str, at: float) -> float | None:
    """The value of the polyline through the models where the other value is `at`."""
    points = sorted(
        (x, y)
        for model in against["models"]
        if (x := _value(results, model, against["equal"], seed)) is not None
        and (y := _value(results, model, against["value"], seed)) is not None
    )
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= at <= x1 and x0 < x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def verdict(claim: Mapping[str, Any], values: Mapping[str, float | None]) -> str:
    """Whether the mean over the seeds agrees with a claim."""
    known = [value for value in values.values() if value is not None]
    if not known:
        return OPEN
    mean, low, high = statistics.fmean(known), claim["low"], claim["high"]
    fits = (low is None or low <= mean) and (high is None or mean <= high)
    return AGREES if fits else DISAGREES


def _mean(values: Mapping[str, float | None]) -> str:
    known = [value for value in values.values() if value is not None]
    return _short(statistics.fmean(known) if known else None)


def _short(value: float | None) -> str:
    return number(value, 2)
