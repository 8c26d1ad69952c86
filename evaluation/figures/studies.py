"""Plots of a search: its trials, and what its settings do to a value, in the look of `figures`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from evaluation.figures.svg import COLOURS, NEUTRAL
from evaluation.figures.svg import render as svg

#: What stands out: the chosen trial.
CHOSEN = COLOURS[1]
PLAIN = COLOURS[0]
GONE = "#8b9097"
#: Of the names of choices side by side; more of them overlap in the width of a slice.
CHARACTERS = 40


@dataclass(frozen=True)
class Axis:
    """A setting as an axis: numbers, whole ones, or the names of choices in their order."""

    name: str
    log: bool = False
    whole: bool = False
    choices: Sequence[str] = ()

    def place(self, value: Any) -> float:
        """Where a value lies on it."""
        return float(self.choices.index(str(value))) if self.choices else float(value)


@dataclass(frozen=True)
class Interval:
    """A mean with its interval at a place of the x axis, and what it is called."""

    x: float
    mean: float
    low: float
    high: float
    name: str
    chosen: bool


def history(
    finished: Sequence[tuple[int, float]],
    gone: Sequence[int],
    title: str,
    name: str,
    *,
    minimised: bool,
) -> str:
    """Values of trials in the order in which they began, and the best one so far.

    Args:
        finished: (number, value) of each trial that has one.
        gone: Numbers of the trials that were given up or failed.
        title: Stands above the plot.
        name: Of the value.
        minimised: Whether less is better.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        if finished:
            numbers, values = np.array(finished, dtype=np.float64).T
            best = (np.minimum if minimised else np.maximum).accumulate(values)
            axes.plot(numbers, values, ls="none", marker="o", ms=4.5, mew=0, color=PLAIN)
            axes.step(numbers, best, where="post", color=CHOSEN, lw=1.4)
        axes.set(xlabel="trial", ylabel=name)
        if gone:
            bottom = axes.get_ylim()[0]
            axes.plot(gone, [bottom] * len(gone), ls="none", marker="x", ms=4.5, color=GONE)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    return svg(draw, title, (4.6, 2.8))


def importance(shares: Mapping[str, float], title: str) -> str:
    """A bar for each setting, the largest at the top."""
    names = sorted(shares, key=lambda name: shares[name])

    def draw(axes: Axes) -> None:
        axes.barh(names, [shares[name] for name in names], color=PLAIN, height=0.6)
        axes.set(xlabel="share of what the settings decide", xlim=(0, 1))
        axes.grid(visible=False, axis="y")

    return svg(draw, title, (4.6, 0.9 + 0.35 * max(2, len(names))))


def slice_plot(
    points: Sequence[tuple[Any, float]], chosen: Any, axis: Axis, title: str, name: str
) -> str:
    """A value against one setting, a mark a trial.

    Args:
        points: (setting, value) of each trial.
        chosen: The setting of the chosen trial; None for none.
        axis: The setting.
        title: Stands above the plot.
        name: Of the value.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        places = [axis.place(x) for x, _ in points]
        values = [y for _, y in points]
        axes.plot(places, values, ls="none", marker="o", ms=4.5, mew=0, color=PLAIN, alpha=0.75)
        if chosen is not None:
            axes.axvline(axis.place(chosen), color=CHOSEN, lw=1.2, ls=(0, (4, 2)))
        axes.set_ylabel(name)
        _scale(axes, axis)

    return svg(draw, title, (3.4, 2.5))


def response(
    points: Sequence[tuple[Any, float]],
    axis: Axis,
    *,
    title: str,
    name: str,
    means: Sequence[Interval] = (),
    chosen: float | None = None,
) -> str:
    """A value over one number: trials as a line, and those trained anew with their intervals.

    Args:
        points: (setting, value) of each trial.
        axis: The setting.
        title: Stands above the plot.
        name: Of the value.
        means: At the full budget.
        chosen: The setting that won.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        line = np.array(sorted((axis.place(x), y) for x, y in points), dtype=np.float64)
        if len(line):
            axes.plot(*line.T, marker="o", ms=3.5, mew=0, lw=1.2, color=PLAIN)
        if means:  # a longer training has other values: they have an axis of their own
            _draw_means(axes.twinx(), means)
        if chosen is not None:
            axes.axvline(chosen, color=CHOSEN, lw=1.2, ls=(0, (4, 2)), zorder=0)
        axes.set_ylabel(name)
        _scale(axes, axis)

    return svg(draw, title, (4.6, 3.0))


def _draw_means(axes: Axes, means: Sequence[Interval]) -> None:
    for one in means:
        colour = CHOSEN if one.chosen else GONE
        ends = [[one.mean - one.low], [one.high - one.mean]]
        look: dict[str, Any] = {"color": colour, "marker": "D", "ms": 5, "capsize": 3}
        axes.errorbar([one.x], [one.mean], yerr=ends, lw=1.6, mew=0.8, **look)
        spot = (one.x, one.mean)
        axes.annotate(one.name, spot, (6, 0), textcoords="offset points", size=7.5, va="center")
    axes.set_ylabel("at the full budget", color=CHOSEN)
    axes.tick_params(axis="y", colors=CHOSEN)
    axes.spines["right"].set_visible(True)
    axes.grid(visible=False)
    axes.margins(0.12)


def intermediate(lines: Sequence[tuple[Mapping[str, float], str]], title: str, name: str) -> str:
    """The value of each trial while it trained.

    Args:
        lines: By step the value, and whether the trial is `chosen`, `complete` or `pruned`.
        title: Stands above the plot.
        name: Of the value.

    Returns:
        An SVG element.
    """
    looks: dict[str, dict[str, Any]] = {
        "complete": {"color": PLAIN, "lw": 1.0, "alpha": 0.7},
        "pruned": {
            "color": GONE,
            "lw": 1.0,
            "ls": (0, (3, 2)),
            "marker": "x",
            "ms": 4,
            "markevery": [-1],
        },
        "chosen": {"color": CHOSEN, "lw": 2.0},
    }

    def draw(axes: Axes) -> None:
        values = [value for line, _ in lines for value in line.values()]
        for line, state in sorted(lines, key=lambda pair: pair[1] == "chosen"):
            steps = sorted(map(int, line))
            axes.plot(steps, [line[str(step)] for step in steps], **looks[state])
        if min(values) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
        axes.set(xlabel="step", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return svg(draw, title, (4.6, 2.8))


def parallel(
    trials: Sequence[tuple[Sequence[Any], float]],
    axes_of: Sequence[Axis],
    chosen: int | None,
    title: str,
    name: str,
) -> str:
    """A line for each trial across its settings to its value, dark for the good ones.

    Args:
        trials: The settings in the order of the axes, None where a part did not count; the value.
        axes_of: The settings.
        chosen: The place of the chosen trial among the trials.
        title: Stands above the plot.
        name: Of the value, the last axis, on which the best lies at the bottom.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        scales = [
            _Scale(axis, [settings[i] for settings, _ in trials]) for i, axis in enumerate(axes_of)
        ]
        last = _Scale(Axis(name), [value for _, value in trials])
        order = np.argsort(np.argsort([-value for _, value in trials]))
        colours = colormaps["viridis"](0.15 + 0.7 * order / max(1, len(trials) - 1))
        for index, (settings, value) in enumerate(trials):
            heights = [scale(x) for scale, x in zip(scales, settings, strict=True)] + [last(value)]
            look: dict[str, Any] = {"color": colours[index], "lw": 1.0, "alpha": 0.75}
            if index == chosen:
                look = {"color": CHOSEN, "lw": 2.4, "zorder": 5}
            line = [(place, height) for place, height in enumerate(heights) if height is not None]
            axes.plot(*zip(*line, strict=True), **look)
        for place, scale in enumerate([*scales, last]):
            axes.axvline(place, color=NEUTRAL, alpha=0.5, lw=0.8)
            for height, text in scale.marks():
                axes.annotate(text, (place, height), (3, 2), textcoords="offset points", size=7)
        axes.set_xticks(range(len(scales) + 1), [*(axis.name for axis in axes_of), name])
        axes.tick_params(axis="x", labelsize=8)
        axes.set(yticks=[], xlim=(-0.1, len(scales) + 0.5), ylim=(-0.05, 1.1))
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)

    return svg(draw, title, (1.6 + 1.35 * (len(axes_of) + 1), 3.0))


class _Scale:
    """From the values of one axis to heights from 0 to 1."""

    def __init__(self, axis: Axis, values: Sequence[Any]) -> None:
        self.axis = axis
        self.places = [self._place(value) for value in values if value is not None] or [0.0]
        self.low, self.span = min(self.places), (max(self.places) - min(self.places)) or 1.0

    def _place(self, value: Any) -> float:
        place = self.axis.place(value)
        return float(np.log10(place)) if self.axis.log else place

    def __call__(self, value: Any) -> float | None:
        return None if value is None else (self._place(value) - self.low) / self.span

    def marks(self) -> list[tuple[float, str]]:
        """Heights with what stands there."""
        if self.axis.choices:
            return [(float(self(c) or 0.0), c) for c in self.axis.choices if self._seen(c)]
        ends = sorted({min(self.places), max(self.places)})
        return [
            ((end - self.low) / self.span, f"{10**end if self.axis.log else end:.3g}")
            for end in ends
        ]

    def _seen(self, choice: str) -> bool:
        return self._place(choice) in self.places


def pareto(
    points: Sequence[tuple[int, float, float]],
    front: Sequence[int],
    title: str,
    labels: tuple[str, str],
) -> str:
    """Trials in the plane of two objectives, and the front.

    Args:
        points: (number, x, y) of each trial.
        front: The numbers of the trials that no other beats in both.
        title: Stands above the plot.
        labels: Names of x and y.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        others = [(x, y) for number, x, y in points if number not in front]
        if others:
            axes.plot(*zip(*others, strict=True), ls="none", marker="o", ms=4, mew=0, color=GONE)
        line = sorted((x, y, number) for number, x, y in points if number in front)
        xs, ys = [x for x, _, _ in line], [y for _, y, _ in line]
        axes.plot(xs, ys, marker="o", ms=6, mew=0, lw=1.2, color=CHOSEN)
        for x, y, number in line:
            axes.annotate(str(number), (x, y), (4, 4), textcoords="offset points", size=8)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.margins(0.08)

    return svg(draw, title, (5.0, 3.6))


def _scale(axes: Axes, axis: Axis) -> None:
    axes.set_xlabel(axis.name)
    if axis.choices:
        axes.set_xticks(range(len(axis.choices)), list(axis.choices), fontsize=7.5)
        if sum(map(len, axis.choices)) > CHARACTERS:
            for label in axes.get_xticklabels():
                label.set(rotation=20, ha="right", rotation_mode="anchor")
        axes.set_xlim(-0.5, len(axis.choices) - 0.5)
    elif axis.log:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        marks = LogLocator(subs=(1.0, 2.0, 5.0), numticks=9)
        # Of less than a decade it has one mark, or as many as do not fit.
        axes.xaxis.set_major_locator(MaxNLocator(4) if high < 10 * low else marks)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif axis.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
