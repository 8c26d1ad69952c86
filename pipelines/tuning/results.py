"""The files of a study in `outputs/tune/<study>/`, for the page, for `apply` and for the user.

trials.json and trials.csv (every trial), best.json (the top trials, retrained), importance.json,
pareto.json, samples/<trial>.png and index.html. They contain no time and no host: times are in the
storage.
"""

import base64
import csv
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipelines.settings import files
from pipelines.tuning import space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import DIGITS, PRUNED, Study

#: The best tenth of the trials is compared with all of them.
FEWEST_FOR_IMPORTANCE = 5
MADE_BY = "genmodels tune run"
#: The row of the original settings among the retrained trials.
START = "start"


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended, as plain values.

    Attributes:
        number: Its number.
        state: `complete`, `pruned`, `infeasible`, `failed` or `lost` (with its worker; its retry
            has another number).
        reason: Why it has no values.
        point: The values that were drawn, by the names of the parts of the space.
        settings: The settings that differ from the study's model, by dotted key.
        objectives: Their values; empty unless complete.
        values: All measured values, by name.
        intermediate: By step the objective, where trials are pruned.
        num_parameters: Number of the model's parameters; 0 if none was built.
        steps: Trained steps.
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
    """The results of a study.

    Attributes:
        study: Its settings: trials.json without the trials.
        trials: All trials that have ended.
        best: best.json.
        importance: importance.json.
        front: pareto.json.
        folder: The folder with its pictures.
    """

    study: Mapping[str, Any]
    trials: list[EndedTrial]
    best: Mapping[str, Any]
    importance: Mapping[str, Mapping[str, float]]
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
    def is_minimised(self) -> bool:
        """Whether a lower first objective is better."""
        return bool(self.study["directions"][0] == "minimize")

    @property
    def winner(self) -> EndedTrial | None:
        """The trial that won the retraining, or, before it, the best trial; None for no trial."""
        if len(self.study["objectives"]) > 1 or not self.best["trials"]:
            return None
        number = self.best["trials"][0]["trial"]
        if self.best.get("winner"):
            number = self.best["winner"]["trial"]
        return next((trial for trial in self.trials if trial.number == number), None)


def load(folder: Path) -> Results:
    """Reads the files of a study.

    Raises:
        UserError: The study was not run.
    """
    made_by = f"{MADE_BY} {folder.name.strip('.').split('.')[0]}"
    study = files.read_json(folder / "trials.json", made_by)
    trials = [EndedTrial(**trial) for trial in study.pop("trials")]
    best, importance, front = (
        files.read_json(folder / f"{name}.json", made_by)
        for name in ("best", "importance", "pareto")
    )
    return Results(study, trials, best, importance, front, folder)


def ended(storage: Storage) -> list[EndedTrial]:
    """The trials that have ended, in the order of their numbers."""
    lost = tune_storage.lost_among(storage.trials)
    return [
        _ended(trial, is_lost=trial.number in lost)
        for trial in storage.trials
        if trial.state.is_finished()
    ]


def _ended(trial: FrozenTrial, *, is_lost: bool) -> EndedTrial:
    outcome = {} if is_lost else trial.user_attrs.get("outcome", {})
    return EndedTrial(
        number=trial.number,
        state="lost" if is_lost else _state(trial, outcome),
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


def _state(trial: FrozenTrial, outcome: Mapping[str, Any]) -> str:
    if trial.state == TrialState.COMPLETE:
        return "complete" if outcome.get("feasible", True) else "infeasible"
    if trial.state == TrialState.PRUNED:
        return "pruned" if outcome.get("reason") == PRUNED else "infeasible"
    return "failed"


def front(storage: Storage) -> list[int]:
    """The numbers of the trials on the Pareto front of two objectives."""
    if len(storage.study.values) < 2:
        return []
    return sorted(trial.number for trial in storage.inner.best_trials)


def importances(storage: Storage) -> dict[str, dict[str, float]]:
    """By objective and part of the space the importance: PED-ANOVA, Optuna's default.

    It measures how differently the best trials are distributed from all trials (Watanabe et al.
    2023, arXiv 2304.10255). Empty for too few trials, or where the best trials are all trials.
    """
    complete = sum(trial.state == TrialState.COMPLETE for trial in storage.trials)
    result: dict[str, dict[str, float]] = {name: {} for name in storage.study.values}
    if complete < FEWEST_FOR_IMPORTANCE:
        return result
    for index, name in enumerate(result):
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
                # As for equal trials: Optuna would continue with equal importances.
                warnings.filterwarnings("error", message="Target and region quantiles select")
                result[name] = optuna.importance.get_param_importances(
                    storage.inner, target=target(storage.study, index)
                )
        except (RuntimeError, ValueError, UserWarning):
            continue
    return result


def target(study: Study, index: int) -> Callable[[FrozenTrial], float] | None:
    """The objective of a trial with low for good, as PED-ANOVA takes it; None for one objective."""
    sign = 1 if study.directions[index] == "minimize" else -1
    return (lambda trial: sign * trial.values[index]) if len(study.values) > 1 else None


def write(folder: Path, storage: Storage, best: Mapping[str, Any]) -> None:
    """Writes all files but the page.

    Args:
        folder: A new folder.
        storage: The study.
        best: The content of best.json.
    """
    study, trials = storage.study, ended(storage)
    description = {
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
    }
    files.write_json(
        folder / "trials.json", {**description, "trials": [asdict(trial) for trial in trials]}
    )
    files.write_text(folder / "trials.csv", as_csv(study, trials))
    files.write_json(folder / "importance.json", importances(storage))
    files.write_json(folder / "pareto.json", front(storage))
    files.write_json(folder / "best.json", dict(best))
    for trial in storage.trials:
        if picture := trial.user_attrs.get("outcome", {}).get("picture"):
            path = folder / "samples" / f"{trial.number}.png"
            files.write_bytes(path, base64.b64decode(picture))


def as_csv(study: Study, trials: Sequence[EndedTrial]) -> str:
    """A table with one line per trial, numbers in full precision."""
    points = dict.fromkeys(
        space.name_of(key, index, parts)
        for key, parts in study.settings.space.items()
        for index, part in enumerate(parts)
        if part.type != "fixed"
    )
    values = dict.fromkeys(name for trial in trials for name in trial.values)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["number", "state", "reason", "num_parameters", "steps"]
    writer.writerow([*head, *points, *values])
    for trial in trials:
        cells = [getattr(trial, name) for name in head]
        cells += [trial.point.get(name) for name in points]
        writer.writerow(cells + [trial.values.get(name) for name in values])
    return out.getvalue()
