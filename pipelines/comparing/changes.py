"""What changed between two sets of results: values by the one rule, settings, models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.comparing.leaderboard import Cell
from evaluation.comparing.significance import Difference, Sample, differences
from pipelines.comparing.commits import INPUTS, SECTIONS, Metrics, Results
from pipelines.reporting.differing import Setting, differing


@dataclass(frozen=True)
class Change:
    """One metric of one model whose mean changed, or exists on one side only.

    Attributes:
        model: Name of the model.
        metric: Name of the metric.
        old: The value before.
        new: The value now.
        difference: New compared with old; None if a side has no value. Holm's correction runs over
            the models whose mean of this metric changed.
    """

    model: str
    metric: str
    old: Cell
    new: Cell
    difference: Difference | None


@dataclass(frozen=True)
class Changes:
    """Everything that changed.

    Attributes:
        values: Metrics of models that both sides have, model by model.
        models_added: Models that only the new side has.
        models_removed: Models that only the old side has.
        metrics_added: Metrics that only the new side has for some model of both.
        metrics_removed: Metrics that only the old side has for some model of both.
        settings: Settings that differ: old and new value.
        inputs: The inputs of every value that differ, in words: then a change of a value can come
            from them.
    """

    values: Sequence[Change]
    models_added: Sequence[str]
    models_removed: Sequence[str]
    metrics_added: Sequence[str]
    metrics_removed: Sequence[str]
    settings: Sequence[Setting]
    inputs: Sequence[str]


def changes(
    old: Results, new: Results, directions: Mapping[str, bool | None], models: Sequence[str]
) -> Changes:
    """Compares the results of two commits.

    Args:
        old: The results before.
        new: The results now.
        directions: For each metric whether higher is better; None for a diagnostic.
        models: The models to compare; none for the selected ones.
    """
    before, now = (
        [name for name in models or side.selected if name in side.metrics] for side in (old, new)
    )
    both = [name for name in now if name in before]
    pairs = {name: (old.metrics[name], new.metrics[name]) for name in both}
    added = dict.fromkeys(m for one, other in pairs.values() for m in other if m not in one)
    removed = dict.fromkeys(m for one, other in pairs.values() for m in one if m not in other)
    return Changes(
        changed_values(pairs, directions),
        [name for name in now if name not in before],
        [name for name in before if name not in now],
        list(added),
        list(removed),
        changed_settings(old.settings, new.settings, both),
        [
            words
            for stage, words in INPUTS.items()
            if stage in old.inputs
            and stage in new.inputs
            and old.inputs[stage] != new.inputs[stage]
        ],
    )


def changed_values(
    pairs: Mapping[str, tuple[Metrics, Metrics]], directions: Mapping[str, bool | None]
) -> list[Change]:
    """The metrics whose mean differs.

    Args:
        pairs: For each model its metrics before and now.
        directions: For each metric whether higher is better; None for a diagnostic.
    """
    found: list[Change] = []
    metrics = dict.fromkeys(m for old, new in pairs.values() for m in new if m in old)
    for metric in metrics:
        sides = [
            Change(model, metric, _cell(old[metric]), _cell(new[metric]), None)
            for model, (old, new) in pairs.items()
            if metric in old and metric in new and old[metric]["mean"] != new[metric]["mean"]
        ]
        tested = [change for change in sides if None not in (change.old.mean, change.new.mean)]
        samples = [(_sample(change.new), _sample(change.old)) for change in tested]
        verdicts = iter(differences(samples, directions.get(metric)))
        found += [replace(c, difference=next(verdicts)) if c in tested else c for c in sides]
    places = {model: place for place, model in enumerate(pairs)}
    return sorted(found, key=lambda change: places[change.model])


def _cell(value: Mapping[str, Any]) -> Cell:
    return Cell(value["mean"], value["std"], value["n"], value.get("reason"))


def _sample(cell: Cell) -> Sample:
    assert cell.mean is not None
    return Sample(cell.mean, cell.std, cell.n)


def changed_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], models: Sequence[str]
) -> list[Setting]:
    """The settings that differ; models with the same change of a setting share a line.

    Args:
        old: The content of params.yaml.
        new: The content now.
        models: The models whose entries are compared.
    """
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
    return [
        Setting(f"models.{_names(names)}.{key}" if names else key, values)
        for (key, *values), names in lines.items()
    ]


def _names(models: Sequence[str]) -> str:
    return models[0] if len(models) == 1 else f"{{{','.join(models)}}}"
