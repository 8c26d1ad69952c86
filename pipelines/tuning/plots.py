"""The plots of a study: Optuna's, in the style of the other pages, and one of our own.

Our own is a value as a function of the one setting that was searched: trials and retrained models.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from optuna.exceptions import ExperimentalWarning
from optuna.visualization import matplotlib as optuna_plots

from evaluation.figures import svg
from pipelines.tuning import results as tune_results
from pipelines.tuning import space
from pipelines.tuning.results import Results
from pipelines.tuning.settings import PARTS, Categorical, Fixed
from pipelines.tuning.storage import Storage

CHOSEN, OTHER = svg.COLOURS[1], "#8b9097"


def search_plots(storage: Storage, results: Results) -> list[str]:
    """History, importance and, with a pruner, the values during the trials; as SVG elements."""
    inner, plots = storage.inner, []
    plot: Callable[..., Any]
    for index, name in enumerate(storage.study.values):
        plot, about = optuna_plots.plot_optimization_history, _objective(storage, index)
        plots.append(_draw(plot, f"{name} of each trial", inner, **about))
        if len(searched(results)) > 1 and results.importance[name]:
            about["target"] = tune_results.target(storage.study, index)
            plot, title = optuna_plots.plot_param_importances, f"Importance of settings for {name}"
            plots.append(_draw(plot, title, inner, **about))
    if storage.study.is_pruned:
        plot, title = optuna_plots.plot_intermediate_values, f"{storage.study.values[0]} by step"
        plots.append(_draw(plot, title, inner))
    return plots


def setting_plots(storage: Storage, results: Results) -> list[str]:
    """Each objective by each setting, and all settings of each trial."""
    names = searched(results)
    drawn = {name for trial in results.complete for name in trial.point}
    if len(names) < 2 or not drawn:
        return []
    plots = []
    for index, name in enumerate(storage.study.values):
        about = _objective(storage, index)
        for setting in filter(drawn.__contains__, names):
            plot, title = optuna_plots.plot_slice, f"{name} by {setting}"
            plots.append(_draw(plot, title, storage.inner, params=[setting], **about))
        plot, title = optuna_plots.plot_parallel_coordinate, f"Settings of each trial and {name}"
        size = (1.6 + 1.35 * (len(names) + 1), 3.4)
        plots.append(_draw(plot, title, storage.inner, size, **about))
    return plots


def pareto_plot(storage: Storage, results: Results) -> str | None:
    """The Pareto front of two objectives, with the numbers of its trials."""
    names = storage.study.values
    if len(names) < 2 or not results.complete:
        return None

    def draw(study: optuna.Study, **about: Any) -> Axes:
        axes = optuna_plots.plot_pareto_front(study, **about)
        for trial in study.best_trials:
            axes.annotate(str(trial.number), trial.values, (4, 4), textcoords="offset points")
        return axes

    return _draw(draw, "Pareto front", storage.inner, (5.0, 3.6), target_names=names)


def _objective(storage: Storage, index: int) -> dict[str, Any]:
    names = storage.study.values
    target = (lambda trial: trial.values[index]) if len(names) > 1 else None
    return {"target": target, "target_name": names[index]}


def _draw(
    plot: Callable[..., Any],
    title: str,
    study: optuna.Study,
    size: tuple[float, float] = (4.6, 2.9),
    **about: Any,
) -> str:
    """Draws one of Optuna's plots in our style.

    Optuna sets matplotlib's style `ggplot` before it draws, so ours takes that name meanwhile.
    """
    ggplot = plt.style.library["ggplot"]
    with mpl.rc_context({"savefig.bbox": "tight"}), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", module="optuna|matplotlib")
        mpl.use("agg")
        plt.style.library["ggplot"] = mpl.RcParams(svg.STYLE)
        try:
            drawn = plot(study, **about)
            first = np.ravel(np.asarray(drawn, dtype=object))[0]
            figure: Figure = first.figure
            _arrange(figure, first, title, size)
            return svg.as_element(figure, title)
        finally:
            plt.style.library["ggplot"] = ggplot
            plt.close("all")


def _arrange(figure: Figure, first: Axes, title: str, size: tuple[float, float]) -> None:
    figure.set_layout_engine("none")
    figure.set_size_inches(size)
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
        if (legend := axes.get_legend()) is not None:
            legend.remove()
        axes.xaxis.set_minor_formatter(NullFormatter())
        labels = [label for label in axes.get_xticklabels() if not _is_number(label.get_text())]
        if sum(len(label.get_text()) for label in labels) > 40:
            for label in labels:
                label.set(rotation=20, ha="right", rotation_mode="anchor")
    first.set_title(title, loc="left")


def _is_number(text: str) -> bool:
    return not any(character.isalpha() for character in text.replace("mathdefault", ""))


def searched(results: Results) -> list[str]:
    """The names of the searched parts of the space."""
    return [
        space.name_of(key, index, parts)
        for key, parts in _space(results).items()
        for index, part in enumerate(parts)
        if not isinstance(part, Fixed)
    ]


def _space(results: Results) -> dict[str, list[Any]]:
    return {
        key: [PARTS[part["type"]].model_validate(part) for part in parts]
        for key, parts in results.study["space"].items()
    }


def one_number(results: Results) -> str | None:
    """The searched setting of a study that searches one number; None for other studies."""
    parts = [part for parts in _space(results).values() for part in parts]
    if len(parts) != 1 or isinstance(parts[0], Categorical):
        return None
    return searched(results)[0]


def response_plots(results: Results) -> list[str]:
    """Every measured value as a function of the one number that was searched."""
    setting = one_number(results)
    if setting is None or not results.complete:
        return []
    return [_response(results, setting, name) for name in results.values]


def _response(results: Results, setting: str, name: str) -> str:
    is_log = bool(next(iter(_space(results).values()))[0].log)
    trials = sorted(
        (trial.point[setting], value)
        for trial in results.complete
        if (value := trial.values.get(name)) is not None
    )

    def draw(axes: Axes) -> None:
        if trials:
            axes.plot(*zip(*trials, strict=True), marker="o", ms=3.5, lw=1.2, color=svg.COLOURS[0])
        if is_log:
            axes.set_xscale("log")
        if rows := retrained_points(results, setting, name):  # a longer training: its own axis
            _draw_retrained(axes.twinx(), rows)
        if results.winner is not None:
            axes.axvline(results.winner.point[setting], color=CHOSEN, lw=1.2, ls=(0, (4, 2)))
        axes.set(xlabel=setting, ylabel=name)

    return svg.render(draw, f"{name} by {setting}", (4.6, 3.0))


def retrained_points(
    results: Results, setting: str, name: str
) -> list[tuple[float, dict[str, Any], str, bool]]:
    """Retrained models: the setting, the value's mean and interval, a label, and whether it won."""
    points = []
    winner = results.best.get("winner")
    for row in results.best["retrained"].values():
        x = row["settings"].get(setting, results.study["start"].get(setting))
        # The original setting may be null or a word, as a capacity or a sigma.
        if isinstance(x, int | float) and row["values"].get(name, {}).get("interval"):
            label = "original" if row["trial"] is None else f"trial {row['trial']}"
            is_winner = winner is not None and winner["trial"] == row["trial"]
            points.append((float(x), row["values"][name], label, is_winner))
    return points


def _draw_retrained(axes: Axes, points: Sequence[tuple[float, dict[str, Any], str, bool]]) -> None:
    for x, value, label, is_winner in points:
        low, high = value["interval"]
        ends = [[value["mean"] - low], [high - value["mean"]]]
        look: dict[str, Any] = {"color": CHOSEN if is_winner else OTHER, "marker": "D", "ms": 5}
        axes.errorbar([x], [value["mean"]], yerr=ends, capsize=3, lw=1.6, **look)
        axes.annotate(label, (x, value["mean"]), (6, 0), textcoords="offset points", size=7.5)
    axes.set_ylabel("retrained at full length", color=CHOSEN)
    axes.tick_params(axis="y", colors=CHOSEN)
    axes.spines["right"].set_visible(True)
    axes.grid(visible=False)
    axes.margins(0.12)
