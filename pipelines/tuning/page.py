"""The page of a study: one file that opens offline and says what was found.

Made from the files of `outputs/tune/<study>/` alone; equal files give equal bytes.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation.comparing import value_text
from evaluation.figures import studies as figures
from evaluation.figures.studies import Axis, Interval
from pipelines.settings import files
from pipelines.tuning import best as tune_best
from pipelines.tuning import space
from pipelines.tuning.files import MADE_BY, Ended, is_minimised
from pipelines.tuning.settings import PARTS, Categorical, FloatRange, IntRange

TEMPLATE = Path(__file__).parent / "page.html.j2"
#: Of the report, which has a page for all.
MAIN_PLOTS, MAIN_PICTURES = 3, 6
STYLE = Path(__file__).parents[1] / "reporting" / "templates" / "style.css"


@dataclass(frozen=True)
class Found:
    """What a study has left.

    Attributes:
        study: What it was: trials.json without the trials.
        trials: All that have ended.
        best: best.json.
        importance: importance.json.
        front: pareto.json.
        folder: Where its pictures are.
    """

    study: Mapping[str, Any]
    trials: list[Ended]
    best: Mapping[str, Any]
    importance: Mapping[str, Mapping[str, float]]
    front: list[int]
    folder: Path

    @property
    def complete(self) -> list[Ended]:
        """The trials that have values."""
        return [trial for trial in self.trials if trial.is_complete]

    @property
    def winner(self) -> Ended | None:
        """The trial that won, or the best one before anything was trained anew."""
        if len(self.study["objectives"]) > 1 or not self.best["trials"]:
            return None
        number = self.best["trials"][0]["trial"]
        if self.best.get("winner"):
            number = self.best["winner"]["trial"]
            if number is None:
                return next((trial for trial in self.complete if trial.is_start), None)
        return next(trial for trial in self.trials if trial.number == number)

    @property
    def axes(self) -> dict[str, Axis]:
        """By the name of a searched part its axis."""
        found = {}
        for key, raw in self.study["space"].items():
            parts = [PARTS[part["type"]].model_validate(part) for part in raw]
            for index, part in enumerate(parts):
                name = space.name_of(key, index, parts)
                if isinstance(part, Categorical):
                    found[name] = Axis(name, choices=[str(choice) for choice in part.choices])
                elif isinstance(part, FloatRange | IntRange):
                    found[name] = Axis(name, part.log, isinstance(part, IntRange))
        return found


def load(folder: Path) -> Found:
    """Reads the files of a study.

    Raises:
        UserError: The study was not run.
    """
    made_by = f"{MADE_BY} {folder.name.strip('.').split('.')[0]}"
    told = files.read_json(folder / "trials.json", made_by)
    trials = [Ended(**trial) for trial in told.pop("trials")]
    best, importance, front = (
        files.read_json(folder / f"{name}.json", made_by)
        for name in ("best", "importance", "pareto")
    )
    return Found(told, trials, best, importance, front, folder)


def render(found: Found) -> str:
    """The page."""
    return _template().render(
        study=found.study,
        seed=found.best["seeds"][0],
        verdict=tune_best.told(found.study, found.best),
        counts=_counts(found),
        apply=_how_to_apply(found),
        retrained=_retrained(found),
        curves=_curves(found),
        samples=_samples(found),
        pareto=_pareto(found),
        plots=_plots(found),
        parallel=_parallel(found),
        slices=_slices(found),
        trials=_table(found),
        values=_values_of(found),
    )


def _how_to_apply(found: Found) -> str:
    """The command that `tune_apply` takes: with a number where nothing has won; empty for none."""
    if not found.best["trials"]:
        return ""
    command = f"python -m pipelines.tune apply {found.study['study']}"
    winner = found.best.get("winner")
    if winner and winner["trial"] is not None:
        return command
    return f"{command} --trial {found.best['trials'][0]['trial']}"


def summary(found: Found) -> dict[str, Any]:
    """What the report shows of a study: verdict, table, main plots, some pictures."""
    front = _pareto(found)
    measured = [front] if front else _curves(found)[:MAIN_PLOTS]
    along = _samples(found) if _one_number(found) or found.front else []
    last = max(len(along) - 1, 1)
    places = dict.fromkeys(round(i * last / (MAIN_PICTURES - 1)) for i in range(MAIN_PICTURES))
    return {
        "study": found.study["study"],
        "hash": found.study["hash"],
        "model": found.study["model"],
        "verdict": tune_best.told(found.study, found.best),
        "counts": _counts(found),
        "values": _values_of(found),
        "retrained": [
            {key: line[key] for key in ("name", "settings", "values", "chosen")}
            for line in _retrained(found)
        ],
        "plots": measured or _plots(found)[:MAIN_PLOTS],
        "pictures": [along[place] for place in places if place < len(along)],
    }


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATE.parent, STYLE.parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = value_text.count
    return environment.get_template(
        TEMPLATE.name, globals={"style": Markup(STYLE.read_text("utf-8"))}
    )


def _counts(found: Found) -> str:
    states: dict[str, int] = {}
    for trial in found.trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    steps = sum(trial.steps for trial in found.trials)
    full = found.study["num_steps"] * len([t for t in found.trials if t.state != "lost"])
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{told}; {steps:,} training steps of the {full:,} that whole trials would have had"


def _uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _picture(path: Path, title: str, note: str, *, chosen: bool = False) -> dict[str, Any]:
    return {"uri": _uri(path), "title": title, "note": note, "chosen": chosen}


def _retrained(found: Found) -> list[dict[str, Any]]:
    """A line and a picture for each model at the full budget."""
    lines = []
    objectives = {trial.number: trial.objectives for trial in found.trials}
    winner = found.best.get("winner")
    names = _values_of(found)
    for row, one in found.best["retrained"].items():
        trial, picture = one["trial"], found.folder / "retrained" / f"{row}.png"
        lines.append(
            {
                "name": tune_best.called(trial),
                "settings": tune_best.settings(one),
                "as_trial": [] if trial is None else objectives[trial],
                "values": [tune_best.value(one, name) for name in names],
                "picture": _uri(picture) if picture.is_file() else None,
                "chosen": winner is not None and winner["trial"] == trial,
                "diverged": one["diverged"],
            }
        )
    return lines


def _one_number(found: Found) -> Axis | None:
    """The searched part of a study over one number."""
    axes = list(found.axes.values())
    return axes[0] if len(axes) == 1 and not axes[0].choices else None


def _curves(found: Found) -> list[str]:
    """Over one number every value that was measured, the objective first."""
    axis, winner = _one_number(found), found.winner
    if axis is None or not found.complete:
        return []
    chosen = float(winner.point[axis.name]) if winner else None
    plots = []
    for name in _values_of(found):
        points = [
            (trial.point[axis.name], value)
            for trial in found.complete
            if (value := trial.values.get(name)) is not None
        ]
        means = _means(found, axis, name)
        title = f"{name} over {axis.name}"
        plots.append(
            figures.response(points, axis, title=title, name=name, means=means, chosen=chosen)
        )
    return plots


def _values_of(found: Found) -> list[str]:
    measured = dict.fromkeys(name for trial in found.complete for name in trial.values)
    return list(dict.fromkeys([*found.study["objectives"], *measured]))


def _means(found: Found, axis: Axis, name: str) -> list[Interval]:
    """The models at the full budget, as points with their intervals."""
    winner = found.best.get("winner")
    marks = []
    for one in found.best["retrained"].values():
        value = one["values"].get(name)
        x = one["settings"].get(axis.name, found.study["start"].get(axis.name))
        # The present setting need not have a place there: a capacity may be null, a sigma learned.
        is_placed = isinstance(x, int | float) and (x > 0 or not axis.log)
        if value and value["interval"] and is_placed:
            low, high = value["interval"]
            chosen = winner is not None and winner["trial"] == one["trial"]
            told = "now" if one["trial"] is None else f"trial {one['trial']}"
            marks.append(Interval(float(x), value["mean"], low, high, told, chosen))
    return marks


def _samples(found: Found) -> list[dict[str, Any]]:
    """Pictures of trials: along the number that was searched, or the best ones first."""
    axis, winner = _one_number(found), found.winner
    sign = 1 if is_minimised(found.study["directions"][0]) else -1
    shown = [t for t in found.complete if (found.folder / f"samples/{t.number}.png").is_file()]
    if axis is not None:
        shown.sort(key=lambda trial: float(trial.point[axis.name]))
    else:
        shown = sorted(shown, key=lambda trial: sign * trial.objectives[0])[:12]
    if found.front:
        line = [t for t in shown if t.number in found.front]
        shown = line or shown
    return [
        _picture(
            found.folder / f"samples/{trial.number}.png",
            _called(trial, axis),
            ", ".join(
                f"{name} {value:.4g}"
                for name, value in zip(found.study["objectives"], trial.objectives, strict=True)
            ),
            chosen=trial is winner,
        )
        for trial in shown
    ]


def _called(trial: Ended, axis: Axis | None) -> str:
    if axis is None:
        return f"trial {trial.number}"
    return f"{axis.name} {tune_best.number(trial.point[axis.name])} (trial {trial.number})"


def _pareto(found: Found) -> str | None:
    names = found.study["objectives"]
    if len(names) < 2 or not found.complete:
        return None
    points = [(t.number, t.objectives[0], t.objectives[1]) for t in found.complete]
    return figures.pareto(points, found.front, "Pareto front", (names[0], names[1]))


def _plots(found: Found) -> list[str]:
    """History, importance and intermediate values."""
    plots = []
    gone = [t.number for t in found.trials if not t.is_complete]
    for index, name in enumerate(found.study["objectives"]):
        finished = [(t.number, t.objectives[index]) for t in found.complete]
        minimised = is_minimised(found.study["directions"][index])
        title = f"history of {name}"
        plots.append(figures.history(finished, gone, title, name, minimised=minimised))
        if len(found.axes) > 1 and found.importance.get(name):
            shares = found.importance[name]
            plots.append(figures.importance(shares, f"importance for {name}"))
    name, winner = found.study["objectives"][0], found.winner
    lines = [
        (_whole_line(found, trial), "chosen" if trial is winner else trial.state)
        for trial in found.trials
        if trial.intermediate and trial.state in ("complete", "pruned")
    ]
    if lines:
        plots.append(figures.intermediate(lines, f"{name} during the trials", name))
    return plots


def _whole_line(found: Found, trial: Ended) -> dict[str, float]:
    """What was seen of a trial while it trained, and its value at the end."""
    end = {str(found.study["num_steps"]): trial.objectives[0]} if trial.is_complete else {}
    return trial.intermediate | end


def _parallel(found: Found) -> str | None:
    """The settings of each trial side by side."""
    axes, winner = found.axes, found.winner
    if len(axes) < 2 or not found.complete:
        return None
    trials = [([t.point.get(part) for part in axes], t.objectives[0]) for t in found.complete]
    place = found.complete.index(winner) if winner in found.complete else None
    name = found.study["objectives"][0]
    return figures.parallel(trials, list(axes.values()), place, "settings of each trial", name)


def _slices(found: Found) -> list[str]:
    axes, winner = found.axes, found.winner
    if len(axes) < 2:
        return []
    plots = []
    for index, name in enumerate(found.study["objectives"]):
        for part, axis in axes.items():
            points = [
                (t.point[part], t.objectives[index]) for t in found.complete if part in t.point
            ]
            if points:
                chosen = winner.point.get(part) if winner else None
                title = f"{name} over {part}"
                plots.append(figures.slice_plot(points, chosen, axis, title, name))
    return plots


def _table(found: Found) -> list[dict[str, Any]]:
    winner = found.winner
    names = _values_of(found)
    return [
        {
            "number": trial.number,
            "state": trial.state,
            "reason": trial.told,
            "settings": tune_best.settings({"settings": trial.settings}),
            "num_parameters": trial.num_parameters,
            "steps": trial.steps,
            "values": [
                "" if trial.values.get(n) is None else f"{trial.values[n]:.4g}" for n in names
            ],
            "chosen": trial is winner,
        }
        for trial in found.trials
    ]
