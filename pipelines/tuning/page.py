"""The page of a study: one file that opens offline, and the summary of it in the report."""

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation.comparing import value_text
from pipelines.tuning import plots as tune_plots
from pipelines.tuning.results import EndedTrial, Results
from pipelines.tuning.storage import Storage
from pipelines.tuning.verdict import called, number, settings, value, verdict

TEMPLATE = Path(__file__).parent / "page.html.j2"
STYLE = Path(__file__).parents[1] / "reporting" / "templates" / "style.css"
#: Largest number of plots and pictures in the report.
REPORT_PLOTS, REPORT_PICTURES = 3, 6
#: Largest number of pictures of a search over several settings.
MOST_PICTURES = 12


@dataclass(frozen=True)
class Plots:
    """The plots of a study, as SVG elements."""

    responses: list[str]
    pareto: str | None
    search: list[str]
    settings: list[str]

    @classmethod
    def of(cls, storage: Storage, results: Results) -> "Plots":
        """Draws them."""
        return cls(
            tune_plots.response_plots(results),
            tune_plots.pareto_plot(storage, results),
            tune_plots.search_plots(storage, results),
            tune_plots.setting_plots(storage, results),
        )


def render(results: Results, plots: Plots) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATE.parent, STYLE.parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = value_text.count
    template = environment.get_template(TEMPLATE.name)
    return template.render(
        style=Markup(STYLE.read_text("utf-8")),
        study=results.study,
        seed=results.best["seeds"][0],
        verdict=verdict(results),
        counts=_counts(results),
        apply=_apply_command(results),
        retrained=_retrained(results),
        samples=_samples(results),
        plots=plots,
        trials=_table(results),
        values=results.values,
    )


def summary(results: Results, plots: Plots) -> dict[str, Any]:
    """The study in the report: verdict, table, main plots, some pictures."""
    samples = _samples(results) if tune_plots.one_number(results) or results.front else []
    last = max(len(samples) - 1, 1)
    places = dict.fromkeys(round(i * last / (REPORT_PICTURES - 1)) for i in range(REPORT_PICTURES))
    main = [plots.pareto] if plots.pareto else plots.responses or plots.search
    return {
        "study": results.study["study"],
        "hash": results.study["hash"],
        "model": results.study["model"],
        "verdict": verdict(results),
        "counts": _counts(results),
        "values": results.values,
        "retrained": [
            {key: line[key] for key in ("name", "settings", "values", "chosen")}
            for line in _retrained(results)
        ],
        "plots": main[:REPORT_PLOTS],
        "pictures": [samples[place] for place in places if place < len(samples)],
    }


def _apply_command(results: Results) -> str:
    """The command that applies the winner, or the best trial; empty if no trial is complete."""
    if not results.best["trials"]:
        return ""
    command = f"genmodels tune apply {results.study['study']}"
    winner = results.best.get("winner")
    if winner and winner["trial"] is not None:
        return command
    return f"{command} --trial {results.best['trials'][0]['trial']}"


def _counts(results: Results) -> str:
    states = Counter(trial.state for trial in results.trials)
    steps = sum(trial.steps for trial in results.trials)
    full = results.study["num_steps"] * (len(results.trials) - states["lost"])
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{counts}; {steps:,} training steps, {full:,} without pruning"


def _uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _retrained(results: Results) -> list[dict[str, Any]]:
    """A line and a picture for each retrained model."""
    objectives = {trial.number: trial.objectives for trial in results.trials}
    winner = results.best.get("winner")
    lines = []
    for row, one in results.best["retrained"].items():
        picture = results.folder / "retrained" / f"{row}.png"
        lines.append(
            {
                "name": called(one["trial"], {}).removeprefix("the "),
                "settings": settings(one["settings"]),
                "as_trial": objectives.get(one["trial"], []),
                "values": [value(one, name) for name in results.values],
                "picture": _uri(picture) if picture.is_file() else None,
                "chosen": winner is not None and winner["trial"] == one["trial"],
                "diverged": one["diverged"],
            }
        )
    return lines


def _samples(results: Results) -> list[dict[str, Any]]:
    """Pictures of trials: along the number that was searched, else the best trials first."""
    setting = tune_plots.one_number(results)
    sign = 1 if results.is_minimised else -1
    path = results.folder / "samples"
    trials = [trial for trial in results.complete if (path / f"{trial.number}.png").is_file()]
    if setting is not None:
        trials.sort(key=lambda trial: float(trial.point[setting]))
    else:
        trials = sorted(trials, key=lambda trial: sign * trial.objectives[0])[:MOST_PICTURES]
    trials = [trial for trial in trials if trial.number in results.front] or trials

    def picture(trial: EndedTrial) -> Mapping[str, Any]:
        title = f"trial {trial.number}"
        if setting is not None:
            title = f"{setting} {number(trial.point[setting])} ({title})"
        scores = zip(results.study["objectives"], trial.objectives, strict=True)
        return {
            "uri": _uri(path / f"{trial.number}.png"),
            "title": title,
            "note": ", ".join(f"{name} {score:.4g}" for name, score in scores),
            "chosen": trial is results.winner,
        }

    return [dict(picture(trial)) for trial in trials]


def _table(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "number": trial.number,
            "state": trial.state,
            "reason": "" if trial.reason in (None, trial.state) else trial.reason,
            "settings": settings(trial.settings),
            "num_parameters": trial.num_parameters,
            "steps": trial.steps,
            "values": [
                "" if (one := trial.values.get(name)) is None else f"{one:.4g}"
                for name in results.values
            ],
            "chosen": trial is results.winner,
        }
        for trial in results.trials
    ]
