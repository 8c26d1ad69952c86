"""What a study leaves in `outputs/tune/<study>/`, for the page, for `apply` and for people.

trials.json and trials.csv (every trial), best.json (the winner, retrained), importance.json,
pareto.json, samples/<trial>.png and index.html. No time and no host is in them: what a clock has
measured stays in the storage.
"""

import base64
import csv
import functools
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipelines.settings import files
from pipelines.tuning import space as tune_space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import DIGITS, PRUNED, Study

#: The best tenth is held against all: of fewer it is one trial against as good as none.
FEWEST_FOR_IMPORTANCE = 5
MADE_BY = "python -m pipelines.tune run"


@dataclass(frozen=True)
class Ended:
    """A trial that has ended, as plain values.

    Attributes:
        number: Its number.
        state: `complete`, `pruned`, `infeasible`, `failed` or `lost` (its worker was; it is retried
            under another number).
        reason: Why it has no values.
        point: What was suggested, by the names of the parts of the space.
        settings: What is set in the entry, by dotted key; fixed parts included.
        objectives: Their values; empty unless complete.
        values: All that was measured, by name.
        intermediate: By step the objective, where trials are pruned.
        num_parameters: Of the model; 0 where none was built.
        steps: Trained.
        is_start: Whether these are the settings of the entry that the study started from.
        first: The number of the trial that it retries, or its own.
        same_as: The number of an equal trial, from which the values were taken.
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
    is_start: bool
    first: int
    same_as: int | None

    @property
    def is_complete(self) -> bool:
        """Whether it has values, within the constraints."""
        return self.state == "complete"

    @property
    def told(self) -> str:
        """The reason, where the state does not say it."""
        return "" if self.reason in (None, self.state) else str(self.reason)


def is_minimised(direction: str) -> bool:
    """Whether less is better."""
    return direction == "minimize"


def _read(trial: FrozenTrial, *, is_lost: bool) -> Ended:
    """A trial of the storage that is neither running nor waiting."""
    told = trial.user_attrs
    return Ended(
        number=trial.number,
        state="lost" if is_lost else _state(trial),
        reason=None if is_lost else told.get("reason"),
        point=dict(trial.params),
        settings=told.get("settings", {}),
        objectives=list(trial.values or []),
        values=told.get("values", {}),
        intermediate={str(step): value for step, value in trial.intermediate_values.items()},
        num_parameters=told.get("num_parameters", 0),
        steps=told.get("steps", 0),
        is_start=bool(told.get("is_start")),
        first=tune_storage.first_number(trial),
        same_as=told.get("same_as"),
    )


def _state(trial: FrozenTrial) -> str:
    reason = trial.user_attrs.get("reason")
    if trial.state == TrialState.COMPLETE:
        return "complete" if trial.user_attrs.get("feasible", True) else "infeasible"
    if trial.state == TrialState.PRUNED:
        return "pruned" if reason == PRUNED else "infeasible"
    return "failed"


def ended(storage: Storage) -> list[Ended]:
    """The trials that have ended, in the order of their numbers."""
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    trials = storage.trials
    lost = tune_storage.lost_among(trials)
    return [_read(t, is_lost=t.number in lost) for t in trials if t.state in over]


def front(storage: Storage) -> list[int]:
    """Of two objectives the numbers of the trials that no other beats in both."""
    if len(storage.study.values) < 2:
        return []
    return sorted(trial.number for trial in storage.inner.best_trials)


def importances(storage: Storage) -> dict[str, dict[str, float]]:
    """By objective, by part of the space, its share of what the settings decide.

    Optuna's default: PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), how differently the best
    trials are distributed from all of them. Empty where there are too few trials to tell, or where
    the best ones are all of them.
    """
    study = storage.study
    if sum(trial.state == TrialState.COMPLETE for trial in storage.trials) < FEWEST_FOR_IMPORTANCE:
        return {name: {} for name in study.values}
    found: dict[str, dict[str, float]] = {}
    for index, (name, direction) in enumerate(zip(study.values, study.directions, strict=True)):
        sign = 1 if is_minimised(direction) else -1  # of several objectives it looks at low ones
        target = functools.partial(_objective, index=index, sign=sign)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
                # Of equal trials, say; Optuna would go on and call all settings equally important.
                warnings.filterwarnings("error", message="Target and region quantiles select")
                found[name] = optuna.importance.get_param_importances(storage.inner, target=target)
        except (RuntimeError, ValueError, UserWarning):
            found[name] = {}
    return found


def _objective(trial: FrozenTrial, index: int, sign: int) -> float:
    return sign * float(trial.values[index])


def describe(study: Study) -> dict[str, Any]:
    """What the study was, for whoever reads its files."""
    settings = study.settings
    return {
        "study": study.name,
        "hash": study.digest[:DIGITS],
        "model": settings.model,
        "base": dict(study.base),
        "objectives": study.values,
        "directions": list(study.directions),
        "num_steps": settings.num_steps,
        "sampler": settings.sampler.name,
        "pruner": settings.pruner.name,
        "space": settings.model_dump(include={"space"})["space"],
        "start": tune_space.present(settings.space, study.base),
    }


def write(folder: Path, storage: Storage, best: Mapping[str, Any]) -> None:
    """Writes all files but the page.

    Args:
        folder: A new one.
        storage: The study.
        best: The verdict and what it stands on.
    """
    study, trials = storage.study, ended(storage)
    told = {**describe(study), "trials": [asdict(trial) for trial in trials]}
    files.write_json(folder / "trials.json", told)
    files.write_text(folder / "trials.csv", as_csv(study, trials))
    files.write_json(folder / "importance.json", importances(storage))
    files.write_json(folder / "pareto.json", front(storage))
    files.write_json(folder / "best.json", dict(best))
    for trial in storage.trials:
        if picture := trial.user_attrs.get("picture"):
            path = folder / "samples" / f"{trial.number}.png"
            files.write_bytes(path, base64.b64decode(picture))


def as_csv(study: Study, trials: Sequence[Ended]) -> str:
    """A table of the trials, a line each, numbers in full precision."""
    points = dict.fromkeys(
        tune_space.name_of(key, index, parts)
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
        told = [getattr(trial, name) for name in head]
        own = [trial.point.get(name) for name in points]
        writer.writerow([*told, *own, *(trial.values.get(name) for name in values)])
    return out.getvalue()
