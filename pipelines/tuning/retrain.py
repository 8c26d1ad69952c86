"""The top trials of a study, retrained at full length with fresh seeds, and what they show.

The best of many noisy trials is biased upwards, because it was selected. So only values that
selected nothing decide: fresh training seeds, the validation split. The original settings are
trained with the same seeds, and each trial is compared with them by the one rule of `significance`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.comparing import significance
from evaluation.comparing.significance import Sample
from evaluation.figures import grids
from pipelines.settings import paths
from pipelines.training.rows import Rows
from pipelines.training.weights import SNAPSHOTS, read_snapshots
from pipelines.tuning.results import MADE_BY, START, EndedTrial
from pipelines.tuning.study import Study
from pipelines.tuning.trial import PICTURE_COLUMNS, PICTURE_SAMPLES
from pipelines.tuning.verdict import called


def top(study: Study, trials: Sequence[EndedTrial], front: Sequence[int]) -> list[EndedTrial]:
    """The trials to retrain, best first.

    Args:
        study: The study.
        trials: All of its trials.
        front: The numbers of the trials on the Pareto front; empty for one objective.
    """
    count = study.settings.retrain.top
    able = [t for t in trials if t.is_complete and t.same_as is None]
    if len(study.values) > 1:  # spread along the front
        line = sorted((t for t in able if t.number in front), key=lambda t: t.objectives[0])
        step = max(1, (len(line) - 1) / max(1, count - 1))
        return [line[round(i * step)] for i in range(min(count, len(line)))]
    sign = 1 if study.directions[0] == "minimize" else -1
    return sorted(able, key=lambda t: sign * t.objectives[0])[:count]


def rows(study: Study, best: Sequence[EndedTrial]) -> Rows:
    """The trainings: `start` and, for each trial with other settings, `trial_<number>`.

    Args:
        study: The study.
        best: The trials, as `top` returns them.
    """
    entries = {START: dict(study.base)}
    for trial in best:
        if (entry := study.full_entry(trial.settings)) != entries[START]:
            entries[f"trial_{trial.number}"] = entry
    return Rows(
        title=f"retrain {study.name}",
        folder=paths.RETRAINED / study.name,
        entries=entries,
        seeds=study.settings.retrain.seeds,
        train=study.train,
        data=study.data,
        evaluate=study.evaluate,
        where=f"study {study.name}",
        split="valid",
        may_diverge=True,
        code_counts=True,
    )


def summary(study: Study, best: Sequence[EndedTrial]) -> dict[str, Any]:
    """The content of best.json.

    Args:
        study: The study.
        best: The trials, as `top` returns them.

    Returns:
        `trials` (number, settings and objectives of the top trials), `seeds`, `retrained` (for each
        row whose seeds are all done: trial, settings, `diverged`, and by value the mean, interval
        and values of the seeds) and, for one objective whose rows are all done, `winner`.
    """
    seeds = study.settings.retrain.seeds
    settings = {f"trial_{trial.number}": trial.settings for trial in best}
    numbers = {f"trial_{trial.number}": trial.number for trial in best}
    results = rows(study, best).results() if best else {}
    retrained: dict[str, dict[str, Any]] = {
        row: {
            "trial": numbers.get(row),
            "settings": settings.get(row, {}),
            "diverged": _diverged(by_seed),
            "values": _values(by_seed),
        }
        for row, by_seed in results.items()
        if len(by_seed) == len(seeds)
    }
    content: dict[str, Any] = {
        "trials": [
            {"trial": t.number, "settings": t.settings, "objectives": t.objectives} for t in best
        ],
        "seeds": seeds,
        "retrained": retrained,
    }
    if best and len(study.values) == 1 and list(retrained) == list(results):
        names = {row: called(one["trial"], one["settings"]) for row, one in retrained.items()}
        content["winner"] = winner(retrained, names, study.values[0], study.directions[0])
    return content


def _values(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """By value what the seeds show; a value that a seed lacks is left out."""
    of_seeds = [result["values"] for result in by_seed.values()]
    names = [name for name in of_seeds[0] if all(one.get(name) is not None for one in of_seeds)]
    columns = {name: [one[name] for one in of_seeds] for name in names}
    return {
        name: {
            "seeds": column,
            "mean": fmean(column),
            "interval": list(significance.interval(column) or ()),
        }
        for name, column in columns.items()
    }


def _diverged(by_seed: Mapping[int, Mapping[str, Any]]) -> str | None:
    for seed, result in by_seed.items():
        if result.get("diverged"):
            return f"seed {seed}: {result['diverged']}"
    return None


def winner(
    retrained: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], name: str, direction: str
) -> dict[str, Any] | None:
    """The row with the best mean, and how it differs from the original settings.

    Args:
        retrained: The rows.
        names: Their names in text.
        name: The objective.
        direction: `minimize` or `maximize`.

    Returns:
        `trial` (None for the original settings), and of the best trial `row`, `is_better` than the
        original settings by the rule of `significance`, and the `sentence` that says so; None if no
        row has a value.
    """
    rows_with_values = {
        row: one["values"] for row, one in retrained.items() if name in one["values"]
    }
    samples = {row: Sample.of(values[name]["seeds"]) for row, values in rows_with_values.items()}
    if not samples:
        return None
    sign = 1 if direction == "minimize" else -1
    ranked = sorted(samples, key=lambda row: sign * samples[row].mean)
    trials = [row for row in ranked if row != START]
    best = trials[0] if trials else None
    result = {"trial": retrained[ranked[0]]["trial"], "row": best, "is_better": False}
    if best is None:
        return {**result, "sentence": "no trial with other settings has a value"}
    if START not in samples:
        return {**result, "sentence": f"{names[best]} has no rival: {names[START]} diverged"}
    pairs = [(samples[row], samples[START]) for row in trials]
    first = significance.differences(pairs, direction == "maximize")[0]
    sentence = first.sentence(names[best], names[START])
    return {**result, "is_better": first.verdict == "better", "sentence": sentence}


def draw(study: Study, row: str, path: Path) -> None:
    """Writes samples of a retrained model with its first seed; nothing if it diverged."""
    seed = study.settings.retrain.seeds[0]
    folder = paths.RETRAINED / study.name / row / str(seed)
    if (folder / SNAPSHOTS).is_file():
        snapshots = read_snapshots(folder, f"{MADE_BY} {study.name}")
        samples = snapshots[max(snapshots)][:PICTURE_SAMPLES]
        grids.save_png(grids.image_grid(samples.float() / 255, PICTURE_COLUMNS, scale=1), path)
