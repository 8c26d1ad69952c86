"""The files of a study in `outputs/tune/<study>/`, and its result in words.

trials.json and trials.csv (every trial), best.json (the top trials, retrained), samples/<trial>.png
and index.html. They contain no time and no host: times are in the storage.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from pipelines.settings import files
from pipelines.tuning import space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import DIGITS, PRUNED, Study

MADE_BY = "genmodels tune run"
#: The row of the original settings among the retrained trials.
START = "start"


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended, as plain values.

    Attributes:
        state: `complete`, `pruned`, `infeasible`, `failed` or `lost` (with its worker; its retry
            has another number).
        point: The values that were drawn, by the names of the parts of the space.
        settings: The settings that differ from the study's model, by dotted key.
        objectives: Their values; empty unless complete.
        intermediate: By step the objective, where trials are pruned.
        first: Its number, or, for a retry, that of the trial that was lost first.
        same_as: Number of the equal trial whose values it has.
    """

    number: int
    state: str
    reason: str | None
    point: dict[str, Any]
    settings: dict[str, Any]
    objectives: list[float]
    values: dict[str, float | None]
    intermediate: dict[str, float]
    num_parameters: int
    steps: int
    first: int
    same_as: int | None

    @property
    def is_complete(self) -> bool:
        """Whether it has values, within the constraints."""
        return self.state == "complete"


@dataclass(frozen=True)
class Results:
    """The results of a study, from `folder`: its settings and trials (trials.json), best.json.

    `front` are the trials on the Pareto front of two objectives.
    """

    study: Mapping[str, Any]
    trials: list[EndedTrial]
    best: Mapping[str, Any]
    front: list[int]
    folder: Path

    @property
    def complete(self) -> list[EndedTrial]:
        """The trials with values."""
        return [trial for trial in self.trials if trial.is_complete]

    @property
    def values(self) -> list[str]:
        """The names of all measured values, the objectives first."""
        measured = [name for trial in self.complete for name in trial.values]
        return list(dict.fromkeys([*self.study["objectives"], *measured]))

    @property
    def winner(self) -> EndedTrial | None:
        """The trial that won the retraining, or, before it, the best trial; None for no trial."""
        if len(self.study["objectives"]) > 1 or not self.best["trials"]:
            return None
        number = (self.best.get("winner") or self.best["trials"][0])["trial"]
        return next((trial for trial in self.trials if trial.number == number), None)


def load(folder: Path) -> Results:
    """Reads the files of a study.

    Raises:
        UserError: The study was not run.
    """
    made_by = f"{MADE_BY} {folder.name.strip('.').split('.')[0]}"
    study = files.read_json(folder / "trials.json", made_by)
    trials = [EndedTrial(**trial) for trial in study.pop("trials")]
    best = files.read_json(folder / "best.json", made_by)
    return Results(study, trials, best, study.pop("front", []), folder)


def ended(storage: Storage) -> list[EndedTrial]:
    """The trials that have ended, in the order of their numbers."""
    trials = storage.trials
    lost = tune_storage.lost_among(trials)
    return [_ended(t, is_lost=t.number in lost) for t in trials if t.state.is_finished()]


def _ended(trial: FrozenTrial, *, is_lost: bool) -> EndedTrial:
    outcome = {} if is_lost else trial.user_attrs.get("outcome", {})
    if is_lost:
        state = "lost"
    elif trial.state == TrialState.COMPLETE:
        state = "complete" if outcome.get("feasible", True) else "infeasible"
    elif trial.state == TrialState.PRUNED:
        state = "pruned" if outcome.get("reason") == PRUNED else "infeasible"
    else:
        state = "failed"
    return EndedTrial(
        number=trial.number,
        state=state,
        reason=outcome.get("reason"),
        point=dict(trial.params),
        settings=trial.user_attrs.get("settings", {}),
        objectives=list(trial.values or []) if trial.state == TrialState.COMPLETE else [],
        values=outcome.get("values", {}),
        intermediate={str(step): value for step, value in trial.intermediate_values.items()},
        num_parameters=outcome.get("num_parameters", 0),
        steps=outcome.get("steps", 0),
        first=tune_storage.first_number(trial),
        same_as=outcome.get("same_as"),
    )


def front(storage: Storage) -> list[int]:
    """The numbers of the trials on the Pareto front of two objectives."""
    if len(storage.study.values) < 2:
        return []
    return sorted(trial.number for trial in storage.inner.best_trials)


def write(folder: Path, storage: Storage, best: Mapping[str, Any]) -> None:
    """Writes all files but the page into a new folder; `best` is the content of best.json."""
    study, trials = storage.study, ended(storage)
    content = {
        "study": study.name,
        "hash": study.digest[:DIGITS],
        "model": study.settings.model,
        "base": dict(study.base),
        "objectives": study.values,
        "directions": list(study.directions),
        "num_steps": study.settings.num_steps,
        "sampler": study.settings.sampler.name,
        "pruner": study.settings.pruner.name,
        "space": study.settings.model_dump(include={"space"})["space"],
        "start": space.original_point(study.settings.space, study.base),
        "front": front(storage),
        "trials": [asdict(trial) for trial in trials],
    }
    files.write_json(folder / "trials.json", content)
    files.write_text(folder / "trials.csv", _as_csv(study, trials))
    files.write_json(folder / "best.json", dict(best))
    for trial in storage.trials:
        if picture := trial.user_attrs.get("outcome", {}).get("picture"):
            path = folder / "samples" / f"{trial.number}.png"
            files.write_bytes(path, base64.b64decode(picture))


def _as_csv(study: Study, trials: Sequence[EndedTrial]) -> str:
    """A table with one line per trial, numbers in full precision."""
    head = ["number", "state", "reason", "num_parameters", "steps"]
    values = dict.fromkeys(name for trial in trials for name in trial.values)
    rows = [vars(trial) | trial.point | trial.values for trial in trials]
    columns = [*head, *space.searched(study.settings.space), *values]
    # As objects: a column with an empty cell would turn whole numbers into floats.
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.to_csv(index=False, lineterminator="\n")


def verdict(results: Results) -> str:
    """The result of a study, without a full stop."""
    study, best = results.study, results.best
    name, title = study["objectives"][0], study["study"]
    if not best["trials"]:
        return f"{title}: no trial is complete"
    first = best["trials"][0]
    has_front = len(study["objectives"]) > 1
    if not best["retrained"] or not (has_front or "winner" in best):
        missing = "not all of the top trials are" if best["retrained"] else "it is not"
        return (
            f"{title}: the best trial so far is {called(first['trial'], first['settings'])}, "
            f"{name} {first['objectives'][0]:.4g}; {missing} retrained yet, and this score is "
            "selection-biased"
        )
    if has_front:
        rows = ", ".join(called(row["trial"], {}) for row in best["retrained"].values())
        return (
            f"{title}: two objectives have a Pareto front and no winner; retrained: {rows}; "
            "choose one with `apply --trial N`"
        )
    winner = best["winner"]
    if winner is None:
        reasons = [row["diverged"] for row in best["retrained"].values() if row["diverged"]]
        return "; ".join([f"{title}: no retrained model has a {name}", *reasons[:1]])
    return f"{title}: {_compared(results, winner)}"


def _compared(results: Results, winner: Mapping[str, Any]) -> str:
    study, rows = results.study, results.best["retrained"]
    name, start = study["objectives"][0], value(rows[START], study["objectives"][0])
    nothing = f"nothing is measurably better than {called(None, study['start'])}"
    seeds = f"{len(results.best['seeds'])} fresh seeds at full length"
    if winner["row"] is None:
        return f"{nothing}: {winner['sentence']}; {name} {start}, {seeds}"
    row = rows[winner["row"]]
    score = next(t for t in results.trials if t.number == row["trial"]).objectives[0]
    said = winner["sentence"]
    if not winner["is_better"] and name in rows[START]["values"]:
        said = f"{nothing}. {said[0].upper()}{said[1:]}"
    return (
        f"{said}: {name} {value(row, name)} vs {start}, {seeds}. The score of trial {row['trial']} "
        f"during the search ({study['num_steps']:,} steps, selection-biased) was {score:.4g}"
    )


def called(trial: int | None, settings_of: Mapping[str, Any]) -> str:
    """Name of a row in text, with its settings."""
    name = "the original settings" if trial is None else f"trial {trial}"
    return f"{name} ({settings(settings_of)})" if settings_of else name


def settings(values: Mapping[str, Any]) -> str:
    """Settings in text, without the conditions in the names of parts."""
    pairs = values.items()
    return ", ".join(f"{key.partition('@')[0]} {number(one)}" for key, one in pairs)


def number(setting: Any) -> str:
    """A setting with at most four digits."""
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)


def value(row: Mapping[str, Any], name: str) -> str:
    """A mean with its interval, or why there is none."""
    if name not in row["values"]:
        return "diverged" if row["diverged"] else "no value"
    mean, interval = row["values"][name]["mean"], row["values"][name]["interval"]
    return f"{mean:.4g} [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else f"{mean:.4g}"
