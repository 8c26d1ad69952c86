"""The page of a study: one file that opens offline, and the summary of it in the report.

The plots are Optuna's, in the style of the other pages.
"""

import base64
import contextlib
import functools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
import optuna
from markupsafe import Markup
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as optuna_plots

from evaluation.comparing import value_text
from evaluation.figures import svg
from pipelines.tuning import space
from pipelines.tuning.results import Results, called, number, settings, value, verdict
from pipelines.tuning.settings import FloatRange, IntRange
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import Study

TEMPLATE = Path(__file__).parent / "page.html.j2"
STYLE = Path(__file__).parents[1] / "reporting" / "templates" / "style.css"
#: Largest number of plots and pictures in the report.
REPORT_PLOTS, REPORT_PICTURES = 3, 6
#: Largest number of pictures of a search over several settings.
MOST_PICTURES = 12
#: Fewest trials for importances, which compare the best tenth of the trials with all of them.
FEWEST_FOR_IMPORTANCE = 5
CHOSEN = svg.COLOURS[1]

#: SVG elements by section of the page.
Plots = dict[str, list[str]]


def render(study: Study, results: Results, plots: Plots) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"count": value_text.count, "in_words": settings}
    winner, best = results.best.get("winner") or {}, results.best["trials"]
    apply = f"genmodels tune apply {study.name}" if best else ""
    if best and winner.get("trial") is None:
        apply += f" --trial {best[0]['trial']}"
    rows, folder = results.best["retrained"], results.folder / "retrained"
    files = [folder / f"{row}.png" for row in rows]
    pictures = [_uri(file) if file.is_file() else None for file in files]
    return environment.get_template(TEMPLATE.name).render(
        style=Markup(STYLE.read_text("utf-8")),
        study=results.study,
        seed=results.best["seeds"][0],
        verdict=verdict(results),
        counts=_counts(results),
        apply=apply,
        retrained=list(zip(_retrained(results), rows.values(), pictures, strict=True)),
        objectives={trial.number: trial.objectives for trial in results.trials},
        samples=_samples(study, results),
        plots=plots,
        trials=results.trials,
        winner=results.winner,
        values=results.values,
    )


def summary(study: Study, results: Results, plots: Plots) -> dict[str, Any]:
    """The study in the report: verdict, table, main plots, some pictures."""
    samples = _samples(study, results) if _one_number(study) or results.front else []
    last = max(len(samples) - 1, 1)
    places = dict.fromkeys(round(i * last / (REPORT_PICTURES - 1)) for i in range(REPORT_PICTURES))
    main = plots["pareto"] or plots["responses"] or plots["search"]
    return {
        "study": study.name,
        "hash": results.study["hash"],
        "model": study.settings.model,
        "verdict": verdict(results),
        "counts": _counts(results),
        "values": results.values,
        "retrained": _retrained(results),
        "plots": main[:REPORT_PLOTS],
        "pictures": [samples[place] for place in places if place < len(samples)],
    }


def _counts(results: Results) -> str:
    states = Counter(trial.state for trial in results.trials)
    steps = sum(trial.steps for trial in results.trials)
    full = results.study["num_steps"] * (len(results.trials) - states["lost"])
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{counts}; {steps:,} training steps, {full:,} without pruning"


def _uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _retrained(results: Results) -> list[dict[str, Any]]:
    """A line for each retrained model."""
    winner = results.best.get("winner")
    return [
        {
            "name": called(one["trial"], {}).removeprefix("the "),
            "settings": settings(one["settings"]),
            "values": [value(one, name) for name in results.values],
            "chosen": winner is not None and winner["trial"] == one["trial"],
        }
        for one in results.best["retrained"].values()
    ]


def _samples(study: Study, results: Results) -> list[dict[str, Any]]:
    """Pictures of trials: along the number that was searched, else the best trials first."""
    setting = _one_number(study)
    sign = 1 if study.directions[0] == "minimize" else -1
    files = {t.number: results.folder / "samples" / f"{t.number}.png" for t in results.complete}
    trials = [trial for trial in results.complete if files[trial.number].is_file()]
    if setting is not None:
        trials.sort(key=lambda trial: float(trial.point[setting]))
    else:
        trials = sorted(trials, key=lambda trial: sign * trial.objectives[0])[:MOST_PICTURES]
    pictures = []
    for trial in [trial for trial in trials if trial.number in results.front] or trials:
        title = f"trial {trial.number}"
        if setting is not None:
            title = f"{setting} {number(trial.point[setting])} ({title})"
        scores = zip(study.values, trial.objectives, strict=True)
        pictures.append(
            {
                "uri": _uri(files[trial.number]),
                "title": title,
                "note": ", ".join(f"{name} {score:.4g}" for name, score in scores),
                "chosen": trial is results.winner,
            }
        )
    return pictures


def _one_number(study: Study) -> str | None:
    """The searched setting of a study that searches one number; None for other studies."""
    parts = [part for parts in study.settings.space.values() for part in parts]
    is_one = len(parts) == 1 and isinstance(parts[0], FloatRange | IntRange)
    return next(iter(space.searched(study.settings.space))) if is_one else None


def draw(storage: Storage, results: Results) -> Plots:
    """The plots of a study: each value by setting, the Pareto front, the search."""
    study, inner = storage.study, storage.inner
    names, setting = list(space.searched(study.settings.space)), _one_number(study)
    width = 2.5 + 2.0 * len(names)
    plots: Plots = {"responses": [], "pareto": [], "search": [], "settings": []}

    def add(section: str, plot: Callable[..., Any], title: str, *size: float, **about: Any) -> None:
        plots[section].append(_draw(functools.partial(plot, inner, **about), title, size))

    for name in results.values if results.complete else []:
        response, title = functools.partial(_response, results, setting, name), f"{name} by "
        if setting is not None:
            add("responses", response, title + setting, 4.6, 2.9)
        else:
            add("settings", response, f"{title}setting", width, 2.9)
    if len(study.values) > 1 and results.complete:
        add("pareto", _pareto_front, "Pareto front", 5.0, 3.6, target_names=study.values)
    for index, name in enumerate(study.values):
        about = {"target": _target(study, index), "target_name": name}
        history = optuna_plots.plot_optimization_history
        add("search", history, f"{name} of each trial", 4.6, 2.9, **about)
        if len(names) > 1 and len(results.complete) >= FEWEST_FOR_IMPORTANCE:
            # PED-ANOVA takes low for good; it has no result where the best trials are all trials.
            low_is_good = about | {"target": _target(study, index, study.directions[index])}
            shares, title = (
                optuna_plots.plot_param_importances,
                f"Importance of settings for {name}",
            )
            with contextlib.suppress(RuntimeError, ValueError, UserWarning):
                add("search", shares, title, 4.6, 2.9, **low_is_good)
        if len(names) > 1 and results.complete:
            parallel = optuna_plots.plot_parallel_coordinate
            add("settings", parallel, f"Settings of each trial and {name}", width, 3.4, **about)
    if study.is_pruned:
        by_step, title = optuna_plots.plot_intermediate_values, f"{study.values[0]} by step"
        add("search", by_step, title, 4.6, 2.9)
    return plots


def _target(
    study: Study, index: int, direction: str = "minimize"
) -> Callable[[FrozenTrial], float] | None:
    """The objective of a trial, low for good; None for one objective."""
    sign = 1 if direction == "minimize" else -1
    return (lambda trial: sign * trial.values[index]) if len(study.values) > 1 else None


def _pareto_front(study: optuna.Study, **about: Any) -> Axes:
    """The front with the numbers of its trials."""
    axes = optuna_plots.plot_pareto_front(study, **about)
    for trial in study.best_trials:
        axes.annotate(str(trial.number), trial.values, (4, 4), textcoords="offset points")
    return axes


def _draw(plot: Callable[[], Any], title: str, size: tuple[float, ...]) -> str:
    """Draws one of Optuna's plots in our style.

    Optuna sets matplotlib's style `ggplot` before it draws, so ours takes that name meanwhile.
    """
    ggplot = plt.style.library["ggplot"]
    with mpl.rc_context({**svg.STYLE, "savefig.bbox": "tight"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna|matplotlib")
        # As for equal trials: Optuna would continue with equal importances.
        warnings.filterwarnings("error", message="Target and region quantiles select")
        mpl.use("agg")
        plt.style.library["ggplot"] = mpl.RcParams(svg.STYLE)
        try:
            first = np.ravel(np.asarray(plot(), dtype=object))[0]
            figure = first.figure
            figure.set_layout_engine("none")
            figure.set_size_inches(size)
            figure.suptitle("")
            for axes in figure.axes:
                axes.set_title("")
                if (legend := axes.get_legend()) is not None:
                    legend.remove()
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.tick_params(axis="x", labelrotation=0)
            first.set_title(title, loc="left")
            return svg.as_element(figure, title)
        finally:
            plt.style.library["ggplot"] = ggplot
            plt.close("all")


def _response(results: Results, setting: str | None, name: str, study: optuna.Study) -> Any:
    """A value of the trials by setting; with one number, also of the retrained models."""

    def target(trial: FrozenTrial) -> float:
        measured = trial.user_attrs["outcome"]["values"].get(name)
        return math.nan if measured is None else measured  # which is not drawn

    axes: Any = optuna_plots.plot_slice(study, target=target, target_name=name)
    if setting is None:
        return axes
    if results.winner is not None:
        axes.axvline(results.winner.point[setting], color=CHOSEN, lw=1.2, ls=(0, (4, 2)))
    for x, one, label in retrained_points(results, setting, name):
        ends = [[one["mean"] - one["interval"][0]], [one["interval"][1] - one["mean"]]]
        axes.errorbar([x], [one["mean"]], yerr=ends, marker="D", ms=5, capsize=3, color=CHOSEN)
        axes.annotate(label, (x, one["mean"]), (6, 0), textcoords="offset points", size=7.5)
    return axes


def retrained_points(
    results: Results, setting: str, name: str
) -> list[tuple[float, Mapping[str, Any], str]]:
    """Retrained models: the setting, the value's mean and interval, and a label."""
    points = []
    for row in results.best["retrained"].values():
        x = row["settings"].get(setting, results.study["start"].get(setting))
        # The original setting may be null or a word, as a capacity or a sigma.
        if isinstance(x, int | float) and row["values"].get(name, {}).get("interval"):
            label = "original" if row["trial"] is None else f"trial {row['trial']}"
            points.append((float(x), row["values"][name], label))
    return points
