"""The verdict of a study: the best trial's value beside what became of it with fresh seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.figures import grids
from pipelines.settings import paths
from pipelines.training.weights import SNAPSHOTS, read_snapshots
from pipelines.tuning import retrain as tune_retrain
from pipelines.tuning.files import Ended
from pipelines.tuning.retrain import Retrained
from pipelines.tuning.study import Study
from pipelines.tuning.trial import PICTURE_COLUMNS, PICTURE_SAMPLES


def summary(study: Study, best: Sequence[Ended], done: Sequence[Retrained]) -> dict[str, Any]:
    """What best.json holds.

    Args:
        study: The study.
        best: The best trials, best first.
        done: Those trained anew, the starting entry first; some or none of them where that was
            interrupted.

    Returns:
        `trials` (number, settings and objective values of the best), `retrained` (by row: trial,
        settings, why it `diverged`, and by value seeds, mean and interval) and, of one objective
        of which all were trained anew, `winner`.
    """
    settings = {trial.number: trial.settings for trial in best}
    told: dict[str, Any] = {
        "trials": [
            {"trial": t.number, "settings": t.settings, "objectives": t.objectives} for t in best
        ],
        "seeds": study.settings.retrain.seeds,
        "retrained": {
            one.row: {
                "trial": one.trial,
                "settings": {} if one.trial is None else settings[one.trial],
                "diverged": one.diverged,
                "values": {
                    name: {
                        "seeds": list(values),
                        "mean": fmean(values),
                        "interval": list(one.interval(name) or ()),
                    }
                    for name, values in one.values.items()
                },
            }
            for one in done
        },
    }
    rows = list(tune_retrain.entries(study, best))
    if best and len(study.values) == 1 and [one.row for one in done] == rows:
        told["winner"] = tune_retrain.verdict(study, done)
    return told


def draw(study: Study, one: Retrained, path: Path) -> None:
    """The samples of a model that was trained anew, of its first seed."""
    seed = study.settings.retrain.seeds[0]
    folder = paths.RETRAINED / study.name / one.row / str(seed)
    if not (folder / SNAPSHOTS).is_file():  # it diverged
        return
    snapshots = read_snapshots(folder, f"python -m pipelines.tune {study.name}")
    samples = snapshots[max(snapshots)][:PICTURE_SAMPLES]
    grids.save_png(grids.image_grid(samples.float() / 255, PICTURE_COLUMNS, scale=1), path)


def told(study: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """The verdict in a few sentences.

    Args:
        study: What trials.json says of the study.
        best: What best.json holds.
    """
    name = study["objectives"][0]
    if not best["trials"]:
        return f"{study['study']}: no trial is complete"
    first = best["trials"][0]
    is_front = len(study["objectives"]) > 1
    if not best["retrained"] or not (is_front or "winner" in best):
        whether = "not all of the best were" if best["retrained"] else "it was not"
        return (
            f"{study['study']}: best so far is trial {first['trial']} ({settings(first)}), {name} "
            f"{first['objectives'][0]:.4g}; {whether} trained anew, so expect less of it"
        )
    if is_front:
        rows = ", ".join(called(row["trial"]) for row in best["retrained"].values())
        return (
            f"{study['study']}: two objectives have a front, not a winner; trained anew: {rows}; "
            "choose with `apply --trial`"
        )
    start = best["retrained"][tune_retrain.START]
    if best["winner"] is None:
        reasons = [one["diverged"] for one in best["retrained"].values() if one["diverged"]]
        told = f"{study['study']}: no training at the full budget has a {name}"
        return f"{told}; {reasons[0]}" if reasons else told
    if best["winner"]["trial"] is None:
        return (
            f"{study['study']}: nothing beats the present settings "
            f"({settings({'settings': study['start']})}): {name} {value(start, name)} with "
            f"{len(best['seeds'])} fresh seeds at the full budget"
        )
    row = best["retrained"][f"trial_{best['winner']['trial']}"]
    trial = next(t for t in best["trials"] if t["trial"] == best["winner"]["trial"])
    sure = "the intervals do not overlap" if best["winner"]["apart"] else doubt(study, best)
    return (
        f"{study['study']}: trial {trial['trial']} wins ({settings(trial)}): {name} "
        f"{value(row, name)} with {len(best['seeds'])} fresh seeds at the full budget, "
        f"{value(start, name)} with the present settings "
        f"({settings({'settings': study['start']})}); {sure}. As a trial, with "
        f"{study['num_steps']} steps and chosen for it, it had {trial['objectives'][0]:.4g}"
    )


def doubt(study: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """Why a trial that has won is not beyond doubt better than the present settings.

    Args:
        study: What trials.json says of the study.
        best: What best.json holds.
    """
    if study["objectives"][0] not in best["retrained"][tune_retrain.START]["values"]:
        return "what diverges has no interval to compare with"
    return (
        "the intervals of the winner and of the present settings overlap, so these seeds do not "
        "settle it"
    )


def called(trial: int | None) -> str:
    """A row of those trained anew, for people."""
    return "present settings" if trial is None else f"trial {trial}"


def settings(trial: Mapping[str, Any]) -> str:
    """What a trial sets, for people: without the condition that is in the name of a part."""
    found = trial["settings"].items()
    return ", ".join(f"{key.partition('@')[0]} {number(one)}" for key, one in found)


def number(found: Any) -> str:
    """A setting with four digits at most."""
    return f"{found:.4g}" if isinstance(found, float) else str(found)


def value(row: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, or why there is none."""
    if name not in row["values"]:
        return "diverged" if row["diverged"] else "no value"
    found = row["values"][name]
    if not found["interval"]:
        return f"{found['mean']:.4g}"
    low, high = found["interval"]
    return f"{found['mean']:.4g} [{low:.4g}, {high:.4g}]"
