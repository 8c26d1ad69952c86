"""The best trials of a study, trained again with fresh seeds at the full budget.

The best of many noisy trials looks better than it is, because it was chosen for it. So the choice
among the best is made by values that nobody chose by: fresh training seeds, the validation split.
The entry that the study started from is trained with the same seeds, beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation import significance
from pipelines import studies
from pipelines.code_version import code_version
from pipelines.studies import Job
from pipelines.tune_files import Ended, is_minimised
from pipelines.tune_study import Study

START = "start"


@dataclass(frozen=True)
class Retrained:
    """A trial at the full budget.

    Attributes:
        trial: Its number; None for the entry that the study started from.
        values: By objective and watched value one of each seed.
        row: Its folder below outputs/studies/tune_<study>/.
    """

    trial: int | None
    values: Mapping[str, Sequence[float]]
    row: str

    def interval(self, name: str) -> tuple[float, float] | None:
        """Student's interval of the mean over the seeds."""
        return significance.interval(self.values[name])


def chosen(study: Study, trials: Sequence[Ended], front: Sequence[int]) -> list[Ended]:
    """The trials that are worth another training, best first.

    Args:
        study: The study.
        trials: All of its trials.
        front: Of two objectives the numbers of the trials that no other beats in both.
    """
    top = study.settings.retrain.top
    able = [t for t in trials if t.is_complete and t.same_as is None]
    if len(study.values) > 1:  # spread along the front
        line = sorted((t for t in able if t.number in front), key=lambda t: t.objectives[0])
        step = max(1, (len(line) - 1) / max(1, top - 1))
        return [line[round(i * step)] for i in range(min(top, len(line)))]
    sign = 1 if is_minimised(study.directions[0]) else -1
    return sorted(able, key=lambda t: sign * t.objectives[0])[:top]


def retrain(study: Study, best: Sequence[Ended], at_once: int | None) -> list[Retrained]:
    """Trains and measures; what was done before is not done again.

    Args:
        study: The study.
        best: The trials, of `chosen`.
        at_once: Processes at most.

    Returns:
        The starting entry, then the trials in the order given.

    Raises:
        UserError: A training failed.
    """
    entries: dict[str, dict[str, Any]] = {START: dict(study.base)}
    numbers: dict[str, int | None] = {START: None}
    for trial in best:
        if (entry := study.full_entry(trial.settings)) != entries[START]:
            entries[f"trial_{trial.number}"] = entry
            numbers[f"trial_{trial.number}"] = trial.number
    jobs = [
        Job(
            study=f"tune_{study.name}",
            row=row,
            seed=seed,
            entry=entry,
            train=study.train,
            data=study.data,
            measures=study.measures,
            code=code_version(entry["kind"]),
            split="valid",
        )
        for row, entry in entries.items()
        for seed in study.settings.retrain.seeds
    ]
    results = studies.run(jobs, at_once=at_once)
    return [
        Retrained(numbers[row], _by_name(list(seeds.values())), row)
        for row, seeds in results.items()
    ]


def _by_name(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    names = results[0]["values"]
    values = {name: [result["values"][name] for result in results] for name in names}
    return {name: found for name, found in values.items() if None not in found}


def verdict(study: Study, done: Sequence[Retrained]) -> dict[str, Any]:
    """Which of them wins, by the mean over fresh seeds, and whether beyond doubt.

    Args:
        study: Of one objective.
        done: The starting entry first.

    Returns:
        `trial` (None for the starting entry) and `apart`: whether the interval of the winner and
        that of the starting entry do not overlap.
    """
    name, minimised = study.values[0], is_minimised(study.directions[0])
    sign = 1 if minimised else -1
    winner = min(done, key=lambda one: sign * fmean(one.values[name]))
    ends = [one.interval(name) for one in (winner, done[0])]
    apart = winner is not done[0] and None not in ends and _apart(ends[0], ends[1])
    return {"trial": winner.trial, "apart": apart}


def _apart(one: Any, other: Any) -> bool:
    return bool(one[1] < other[0] or other[1] < one[0])
