"""The result of a study in words."""

from collections.abc import Mapping
from typing import Any

from pipelines.tuning.results import START, Results


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
