"""The best trials of a study, trained again with fresh seeds at the full budget.

The best of many noisy trials looks better than it is, because it was chosen for it. So the choice
among the best is made by values that nobody chose by: fresh training seeds, the validation split.
The entry that the study started from is trained with the same seeds, beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation.comparing import significance
from pipelines.settings import paths
from pipelines.training.rows import Rows
from pipelines.tuning.files import Ended, is_minimised
from pipelines.tuning.study import Study

START = "start"


@dataclass(frozen=True)
class Retrained:
    """A trial at the full budget.

    Attributes:
        trial: Its number; None for the entry that the study started from.
        values: By objective and watched value one of each seed; what a seed has no value of is
            left out.
        row: Its folder below outputs/retrained/<study>/.
        diverged: Why a training broke off, with its seed; None where all went to their end.
    """

    trial: int | None
    values: Mapping[str, Sequence[float]]
    row: str
    diverged: str | None

    def interval(self, name: str) -> tuple[float, float] | None:
        """Student's interval of the mean over the seeds; None without values."""
        return significance.interval(self.values[name]) if name in self.values else None


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


def entries(study: Study, best: Sequence[Ended]) -> dict[str, tuple[int | None, dict[str, Any]]]:
    """By row the trial's number, None for the starting entry, and the settings at the full budget.

    Args:
        study: The study.
        best: The trials, of `chosen`; one that is the starting entry is no row beside it.
    """
    start = dict(study.base)
    found: dict[str, tuple[int | None, dict[str, Any]]] = {START: (None, start)}
    for trial in best:
        if (entry := study.full_entry(trial.settings)) != start:
            found[f"trial_{trial.number}"] = trial.number, entry
    return found


def retrain(study: Study, best: Sequence[Ended], at_once: int | None) -> list[Retrained]:
    """Trains and measures; what this code has done before is not done again.

    Args:
        study: The study.
        best: The trials, of `chosen`.
        at_once: Processes at most.

    Returns:
        The starting entry, then the trials in the order given.

    Raises:
        UserError: A training failed.
    """
    _rows(study, best).run(at_once=at_once)
    return done(study, best)


def done(study: Study, best: Sequence[Ended]) -> list[Retrained]:
    """The rows of which every seed has been trained and measured, in the order of `retrain`."""
    found = []
    numbers = {row: number for row, (number, _) in entries(study, best).items()}
    for row, seeds in _rows(study, best).results().items():
        if len(seeds) == len(study.settings.retrain.seeds):
            found.append(Retrained(numbers[row], _values(seeds), row, _diverged(seeds)))
    return found


def _rows(study: Study, best: Sequence[Ended]) -> Rows:
    return Rows(
        title=f"retrain {study.name}",
        folder=paths.RETRAINED / study.name,
        entries={row: entry for row, (_, entry) in entries(study, best).items()},
        seeds=study.settings.retrain.seeds,
        train=study.train,
        data=study.data,
        evaluate=study.evaluate,
        where=f"study {study.name}",
        split="valid",
        may_diverge=True,
        code_counts=True,
    )


def _values(seeds: Mapping[int, Mapping[str, Any]]) -> dict[str, list[float]]:
    told = [result["values"] for result in seeds.values()]
    complete = [name for name in told[0] if all(one.get(name) is not None for one in told)]
    return {name: [one[name] for one in told] for name in complete}


def _diverged(seeds: Mapping[int, Mapping[str, Any]]) -> str | None:
    for seed, result in seeds.items():
        if "diverged" in result:
            return f"seed {seed}: {result['diverged']}"
    return None


def verdict(study: Study, done: Sequence[Retrained]) -> dict[str, Any] | None:
    """Which of them wins, by the mean over fresh seeds, and whether beyond doubt.

    Args:
        study: Of one objective.
        done: The starting entry first.

    Returns:
        `trial` (None for the starting entry) and `apart`: whether the interval of the winner and
        that of the starting entry do not overlap. None where none of them has a value.
    """
    name, minimised = study.values[0], is_minimised(study.directions[0])
    sign = 1 if minimised else -1
    able = [one for one in done if name in one.values]
    if not able:
        return None
    winner = min(able, key=lambda one: sign * fmean(one.values[name]))
    ends = [one.interval(name) for one in (winner, done[0])]
    apart = winner is not done[0] and None not in ends and _apart(ends[0], ends[1])
    return {"trial": winner.trial, "apart": apart}


def _apart(one: Any, other: Any) -> bool:
    return bool(one[1] < other[0] or other[1] < one[0])
