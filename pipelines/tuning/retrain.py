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
from pipelines.settings import files, paths
from pipelines.training.rows import Rows
from pipelines.training.weights import SNAPSHOTS, read_snapshots
from pipelines.tuning import space
from pipelines.tuning.results import MADE_BY, START, EndedTrial, called
from pipelines.tuning.study import Study
from pipelines.tuning.trial import picture_of


def top(study: Study, trials: Sequence[EndedTrial], front: Sequence[int]) -> list[EndedTrial]:
    """The trials to retrain, best first; for two objectives, spread along the front."""
    count = study.settings.retrain.top
    able = [t for t in trials if t.is_complete and t.same_as is None]
    if len(study.values) > 1:
        line = sorted((t for t in able if t.number in front), key=lambda t: t.objectives[0])
        step = max(1, (len(line) - 1) / max(1, count - 1))
        return [line[round(i * step)] for i in range(min(count, len(line)))]
    sign = 1 if study.directions[0] == "minimize" else -1
    return sorted(able, key=lambda t: sign * t.objectives[0])[:count]


def rows(study: Study, best: Sequence[EndedTrial]) -> Rows:
    """The trainings: `start` and `trial_<number>` for each top trial with other settings."""
    entries = {START: dict(study.base)}
    for trial in best:
        if (entry := space.changed(study.base, trial.settings)) != entries[START]:
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
    """The content of best.json, for the trials that `top` returns.

    Returns:
        `trials` (number, settings and objectives of the top trials), `seeds`, `retrained` (for each
        row whose seeds are all done: trial, settings, `diverged`, and by value the mean, interval
        and values of the seeds) and, for one objective whose rows are all done, `winner`.
    """
    seeds = study.settings.retrain.seeds
    trials = {f"trial_{trial.number}": trial for trial in best}
    results = rows(study, best).results() if best else {}
    retrained: dict[str, dict[str, Any]] = {
        row: {
            "trial": trials[row].number if row in trials else None,
            "settings": trials[row].settings if row in trials else {},
            "diverged": next(
                (
                    f"seed {s}: {one['diverged']}"
                    for s, one in by_seed.items()
                    if one.get("diverged")
                ),
                None,
            ),
            "values": _values([result["values"] for result in by_seed.values()]),
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
        content["winner"] = winner(retrained, study.values[0], study.directions[0])
    return content


def _values(of_seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By value what the seeds show; a value that a seed lacks is left out."""
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


def winner(
    retrained: Mapping[str, Mapping[str, Any]], name: str, direction: str
) -> dict[str, Any] | None:
    """The row with the best mean of an objective, and how it differs from the original settings.

    Returns:
        `trial` (None for the original settings), and of the best trial `row`, `is_better` by the
        rule of `significance`, and the `sentence` that says so; None if no row has a value.
    """
    samples = {
        row: Sample.of(one["values"][name]["seeds"])
        for row, one in retrained.items()
        if name in one["values"]
    }
    if not samples:
        return None
    sign = 1 if direction == "minimize" else -1
    ranked = sorted(samples, key=lambda row: sign * samples[row].mean)
    trials = [row for row in ranked if row != START]
    result = {"trial": retrained[ranked[0]]["trial"], "row": None, "is_better": False}
    if not trials:
        return {**result, "sentence": "no trial with other settings has a value"}
    result["row"] = best = trials[0]
    names = {row: called(one["trial"], one["settings"]) for row, one in retrained.items()}
    if START not in samples:
        return {**result, "sentence": f"{names[best]} has no rival: {names[START]} diverged"}
    pairs = [(samples[row], samples[START]) for row in trials]
    first = significance.differences(pairs, direction == "maximize")[0]
    sentence = first.sentence(names[best], names[START])
    return {**result, "is_better": first.verdict == "better", "sentence": sentence}


def draw(study: Study, row: str, path: Path) -> None:
    """Writes samples of a retrained model with its first seed; nothing if it diverged."""
    folder = paths.RETRAINED / study.name / row / str(study.settings.retrain.seeds[0])
    if (folder / SNAPSHOTS).is_file():
        files.write_bytes(path, picture_of(read_snapshots(folder, f"{MADE_BY} {study.name}")))
