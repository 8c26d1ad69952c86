"""Models below each other, their values along one axis, with the interval of each mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from evaluation.comparing import significance
from evaluation.figures import svg as figures

#: Inches: how tall a row is, with one series and with each further one.
ROW, MORE = 0.17, 0.08


@dataclass(frozen=True)
class Dots:
    """One row: for each series that it has, by its name, the values of the seeds."""

    name: str
    series: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Level:
    """A vertical line to read the values against; of one series in its colour, else neutral."""

    value: float
    name: str
    series: str | None = None


@dataclass(frozen=True)
class Axis:
    """The axis that all rows share.

    Attributes:
        label: Its name.
        levels: Lines to read the values against.
        limits: The least and the greatest value possible; None where there are none. An interval
            ends there.
        log_from: From here on it is logarithmic, below it linear; None for a linear axis.
    """

    label: str
    levels: Sequence[Level] = ()
    limits: tuple[float, float] | None = None
    log_from: float | None = None


def dot_plot(rows: Sequence[Dots], title: str, axis: Axis) -> str:
    """A line a model: a large mark at each mean, a small one for each seed.

    From two seeds on, a thin line is Student's 95 % interval of the mean (`significance.interval`).

    Args:
        rows: From above to below; those without a value are left out.
        title: Stands above the plot.
        axis: What the values are read on.

    Returns:
        An SVG element; screen readers are told every mean.
    """
    rows = [row for row in rows if any(row.series.values())]
    names = list(dict.fromkeys(name for row in rows for name, found in row.series.items() if found))

    def draw(axes: Axes) -> None:
        for index, name in enumerate(names):
            _draw_series(axes, rows, name, index, len(names), axis.limits)
        for level in axis.levels:
            own = level.series in names
            colour = figures.colour(names.index(level.series or "")) if own else figures.NEUTRAL
            look: dict[str, Any] = {"lw": 1, "ls": (0, (5, 3)), "alpha": 0.8 if own else 0.5}
            axes.axvline(level.value, color=colour, label=level.name, zorder=1, **look)
        axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row stands at the top
        if axis.log_from is not None:
            axes.set_xscale("symlog", linthresh=axis.log_from)
            if axis.limits is not None:
                axes.set_xlim(axis.limits[0] - 0.1 * axis.log_from, 1.2 * axis.limits[1])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        elif axis.limits is not None:
            # A little room: marks at the ends would be cut in half.
            axes.set_xlim(axis.limits[0] - 0.02, axis.limits[1] + 0.02)
        axes.set_xlabel(axis.label)
        axes.tick_params(axis="y", length=0)
        if len(names) > 1 or axis.levels:
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)

    height = 1.25 + len(rows) * (ROW + MORE * (len(names) - 1))
    told = "; ".join(f"{row.name} {_means(row)}" for row in rows)
    return figures.svg(draw, title, (4.6, height), told)


def _draw_series(
    axes: Axes,
    rows: Sequence[Dots],
    name: str,
    index: int,
    count: int,
    limits: tuple[float, float] | None,
) -> None:
    colour, marker = figures.colour(index), figures.marker(index)
    shift = 0.0 if count < 2 else 0.5 * (index / (count - 1) - 0.5)
    means, places = [], []
    for place, row in enumerate(rows):
        values = row.series.get(name) or ()
        if not values:
            continue
        means.append(float(np.mean(values)))
        places.append(place + shift)
        bounds = significance.interval(values)
        if bounds is not None:
            low, high = bounds if limits is None else np.clip(bounds, *limits)
            axes.plot([low, high], [place + shift] * 2, color=colour, alpha=0.55, lw=1)
        if len(values) > 1:
            spots = [place + shift] * len(values)
            axes.plot(values, spots, ls="none", marker=marker, ms=2.5, mew=0, color=colour)
    look: dict[str, Any] = {"ls": "none", "marker": marker, "ms": 5.5, "mew": 0, "color": colour}
    axes.plot(means, places, label=name, **look)


def _means(row: Dots) -> str:
    return ", ".join(f"{name} {np.mean(found):.3g}" for name, found in row.series.items() if found)
