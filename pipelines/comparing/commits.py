"""This checkout compared with another commit: values by the one rule, settings, models.

At another commit only the files in git exist, so the training seeds' own values are not known, and
neither are pictures or weights.
"""

import json
import subprocess
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.comparing.leaderboard import Cell
from evaluation.comparing.significance import LEVEL, Difference, Sample, differences
from evaluation.comparing.tables import in_words
from evaluation.comparing.value_text import MISSING, decimals, mean_and_sd, signed
from pipelines.comparing.text_table import cut, settings_table, text_table
from pipelines.reporting.differing import Setting, differing
from pipelines.settings import paths, presets, yaml_files
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params

Metrics = Mapping[str, Mapping[str, Any]]
#: The sections of params.yaml that can change a value.
SECTIONS = [name for name in Params.model_fields if name != "selected"]
#: Stages whose outputs every value depends on, and what these outputs are.
INPUTS = {"prepare": "prepared data", "features": "feature extractors"}
HEADER = ("model", "metric", "before", "now", "change", "verdict")
LEGEND = (
    "Values: mean ± sd over training seeds. Verdict on the new value: Welch's t-test over the "
    f"seeds, level {LEVEL}, Holm-adjusted over the models whose value of the metric changed; not "
    "testable: too few seeds."
)


@dataclass(frozen=True)
class Results:
    """The results of a commit or of this checkout.

    Attributes:
        metrics: For each model its metrics: `mean`, `std`, `n` and, without a mean, `reason`.
        settings: The sections of params.yaml, the entries of `models` with those of their bases.
        inputs: For each stage of `INPUTS` the hashes of its outputs, as far as dvc.lock has them.
    """

    label: str
    metrics: Mapping[str, Metrics]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]


def at_commit(revision: str) -> Results:
    """The results at a commit, branch or tag.

    Raises:
        UserError: There is no such commit, this is no git repository, or a file is broken there.
    """
    try:
        name = f"{revision}^{{commit}}"
        commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", name).strip()
        label = f"{revision} ({_git('log', '-1', '--format=%h, %cs', commit).strip()})"
        places = (paths.METRICS, paths.PARAMS, paths.DVC_LOCK)
        folder, *files = (path.relative_to(paths.ROOT).as_posix() for path in places)
        names = _git("ls-tree", "--name-only", commit, f"{folder}/", *files).splitlines()
        texts = {name: _git("show", f"{commit}:./{name}") for name in names}
    except (OSError, subprocess.CalledProcessError):
        raise UserError(f"--against: {revision}: no such commit (`git log` lists them)") from None
    return _results(label, texts, f"{revision}:")


def of_checkout() -> Results:
    """The results of this checkout.

    Raises:
        UserError: A file is broken.
    """
    files = [path for path in (paths.PARAMS, paths.DVC_LOCK) if path.is_file()]
    files += sorted(paths.METRICS.glob("*.json"))
    texts = {path.relative_to(paths.ROOT).as_posix(): path.read_text("utf-8") for path in files}
    return _results("this checkout", texts, "")


def _results(label: str, texts: Mapping[str, str], prefix: str) -> Results:
    """Reads files by their path in the repository; an error has the prefix before the path."""
    metrics: dict[str, Metrics] = {}
    documents: dict[str, Any] = {}
    for path, text in texts.items():
        if not path.endswith(".json"):
            documents[path] = yaml_files.parse_yaml(text, f"{prefix}{path}") or {}
            continue
        try:
            metrics[Path(path).stem] = dict(json.loads(text)["metrics"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{prefix}{path}: not the metrics of a model") from None
    settings = documents.get(paths.PARAMS.name, {})
    if "models" in settings:
        where = f"{prefix}{paths.PARAMS.name}: models"
        settings = {**settings, "models": presets.merge(settings["models"], where)}
    stages = documents.get(paths.DVC_LOCK.name, {}).get("stages", {})
    inputs = {
        stage: {out["path"]: out["md5"] for out in stages[stage]["outs"]}
        for stage in INPUTS
        if stage in stages
    }
    return Results(label, metrics, settings, inputs)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Change:
    """One metric of one model whose mean changed, or exists on one side only.

    `difference` is None if a side has no value. Holm's correction runs over the models whose mean
    of this metric changed.
    """

    model: str
    metric: str
    old: Cell
    new: Cell
    difference: Difference | None


@dataclass(frozen=True)
class Changes:
    """Everything that changed between models that both sides have.

    Attributes:
        one_sided: Names that only one side has: `models_added` and `models_removed`, and
            `metrics_added` and `metrics_removed` of some model of both.
        inputs: The inputs of every value that differ, in words: then a change of a value can come
            from them.
    """

    values: Sequence[Change]
    one_sided: Mapping[str, list[str]]
    settings: Sequence[Setting]
    inputs: Sequence[str]


def changes(
    old: Results, new: Results, directions: Mapping[str, bool | None], models: Sequence[str]
) -> Changes:
    """Compares two sets of results, of these models or (none) of the selected ones.

    `directions` holds for each metric whether higher is better; None for a diagnostic.
    """
    before, now = (
        [n for n in models or side.settings.get("selected", side.metrics) if n in side.metrics]
        for side in (old, new)
    )
    pairs = {name: (old.metrics[name], new.metrics[name]) for name in now if name in before}
    metrics = pairs.values()
    one_sided = {
        "models_added": [name for name in now if name not in before],
        "models_removed": [name for name in before if name not in now],
        "metrics_added": _unique(m for one, other in metrics for m in other if m not in one),
        "metrics_removed": _unique(m for one, other in metrics for m in one if m not in other),
    }
    settings = changed_settings(old.settings, new.settings, list(pairs))
    inputs = [
        words
        for stage, words in INPUTS.items()
        if {stage} <= old.inputs.keys() & new.inputs.keys()
        and old.inputs[stage] != new.inputs[stage]
    ]
    return Changes(changed_values(pairs, directions), one_sided, settings, inputs)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def changed_values(
    pairs: Mapping[str, tuple[Metrics, Metrics]], directions: Mapping[str, bool | None]
) -> list[Change]:
    """The metrics whose mean differs, of models with their metrics before and now."""
    changed: list[Change] = []
    for metric in _unique(m for old, new in pairs.values() for m in new if m in old):
        sides = [
            Change(model, metric, _cell(old[metric]), _cell(new[metric]), None)
            for model, (old, new) in pairs.items()
            if metric in old and metric in new and old[metric]["mean"] != new[metric]["mean"]
        ]
        samples = [
            (Sample(c.new.mean, c.new.std, c.new.n), Sample(c.old.mean, c.old.std, c.old.n))
            for c in sides
            if c.old.mean is not None and c.new.mean is not None
        ]
        verdicts = iter(differences(samples, directions.get(metric)))
        changed += [
            c if None in (c.old.mean, c.new.mean) else replace(c, difference=next(verdicts))
            for c in sides
        ]
    places = {model: place for place, model in enumerate(pairs)}
    return sorted(changed, key=lambda change: places[change.model])


def _cell(value: Mapping[str, Any]) -> Cell:
    return Cell(value["mean"], value["std"], value["n"], value.get("reason"))


def changed_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], models: Sequence[str]
) -> list[Setting]:
    """The settings of params.yaml and of these models that differ; equal changes share a line."""
    sides = [{name: side[name] for name in SECTIONS if name in side} for side in (old, new)]
    for side in sides:
        entries = side.pop("models", {})
        side["models"] = {name: entries[name] for name in models if name in entries}
    lines: dict[tuple[str, ...], list[str]] = {}
    for setting in differing(sides):
        section, _, rest = setting.key.partition(".")
        model, _, key = rest.partition(".")
        if section == "models":
            lines.setdefault((key, *setting.values), []).append(model)
        else:
            lines[setting.key, *setting.values] = []
    settings = []
    for (key, *values), names in lines.items():
        shared = f"{{{','.join(names)}}}" if len(names) > 1 else "".join(names)
        settings.append(Setting(f"models.{shared}.{key}" if names else key, values))
    return settings


def as_text(changes: Changes, is_shown: Callable[[Change], bool], width: int) -> str:
    """What `compare --against` prints, within a width; empty where nothing changed.

    A change of a value that is not shown is counted.
    """
    parts = []
    if rows := [_row(change) for change in changes.values if is_shown(change)]:
        lines = text_table(HEADER, rows, right=(2, 3, 4))
        parts = ["\n".join(cut(line, width) for line in lines), textwrap.fill(LEGEND, width)]
    sentences = [
        f"{key.replace('_', ' ').capitalize()}: {', '.join(names)}."
        for key, names in changes.one_sided.items()
        if names
    ]
    hidden = [change for change in changes.values if not is_shown(change)]
    if verdicts := Counter(c.difference.verdict for c in hidden if c.difference is not None):
        counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        means = f"{len(hidden)} other mean{'s' if len(hidden) != 1 else ''}"
        sentences.insert(0, f"{means} changed: {counts}. --all shows them.")
    if changes.inputs:
        sentences.append(
            f"Not the same at both commits (dvc.lock): {', '.join(changes.inputs)}. A change of a "
            "value can come from there."
        )
    parts += [textwrap.fill(sentence, width) for sentence in sentences]
    if changes.settings:
        parts.append(settings_table(["before", "now"], changes.settings, width))
    return "\n\n".join(parts)


def _row(change: Change) -> list[str]:
    old, new = change.old, change.new
    places = decimals([old.mean, new.mean])
    verdict = in_words(new.reason) if new.mean is None else "no value before"
    moved = MISSING
    if change.difference is not None:
        moved = signed(change.difference.value, places)
        verdict = change.difference.short()
        verdict += f", {old.n} → {new.n} seeds" if old.n != new.n else ""
    values = [mean_and_sd(side.mean, side.std, places) for side in (old, new)]
    return [change.model, change.metric, *values, moved, verdict]


def as_data(against: str, changes: Changes) -> dict[str, Any]:
    """What `compare --against COMMIT --json` writes: everything that changed, in full precision."""
    return {
        "against": against,
        "changes": [
            {
                "model": change.model,
                "metric": change.metric,
                "before": asdict(change.old),
                "now": asdict(change.new),
                "difference": change.difference and change.difference.value,
                "verdict": change.difference and change.difference.verdict,
                "p": change.difference and change.difference.p,
            }
            for change in changes.values
        ],
        **changes.one_sided,
        "inputs_that_differ": list(changes.inputs),
        "settings_that_differ": {
            setting.key: dict(zip(("before", "now"), setting.values, strict=True))
            for setting in changes.settings
        },
    }
