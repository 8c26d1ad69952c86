"""Dot plots: one row per model, values along one axis, an interval of each mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from evaluation.comparing import significance
from evaluation.figures import svg
from evaluation.figures.names import literal

#: Height in inches of a row with one series, and of each further series.
ROW, MORE = 0.17, 0.08


@dataclass(frozen=True)
class Dots:
    """One row: the values of the seeds by the name of the series."""

    name: str
    series: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Level:
    """A vertical reference line, in the colour of its series or neutral without a series."""

    value: float
    name: str
    series: str | None = None


@dataclass(frozen=True)
class Axis:
    """The axis that all rows share.

    Attributes:
        label: Label of the axis.
        levels: Vertical reference lines.
        limits: The smallest and the largest possible value, which clip the intervals; None
            (default) if values are unbounded.
        log_from: Value above which the axis is logarithmic (linear below); None (default) for a
            linear axis.
    """

    label: str
    levels: Sequence[Level] = ()
    limits: tuple[float, float] | None = None
    log_from: float | None = None


def dot_plot(rows: Sequence[Dots], title: str, axis: Axis) -> str:
    """One row per model: a large mark at each mean, a small mark for each seed.

    With at least two seeds, a thin line shows Student's 95 % interval of the mean
    (`significance.interval`).

    Args:
        rows: From top to bottom; rows without a value are omitted.
        title: Title of the plot.
        axis: The value axis.

    Returns:
        An SVG element whose description for screen readers has every mean.
    """
    rows = [row for row in rows if any(row.series.values())]
    names = list(
        dict.fromkeys(name for row in rows for name, values in row.series.items() if values)
    )

    def draw(axes: Axes) -> None:
        for index, name in enumerate(names):
            _draw_series(axes, rows, name, index, len(names), axis.limits)
        for level in axis.levels:
            own = level.series in names
            colour = svg.colour(names.index(level.series or "")) if own else svg.NEUTRAL
            look: dict[str, Any] = {"lw": 1, "ls": (0, (5, 3)), "alpha": 0.8 if own else 0.5}
            axes.axvline(level.value, color=colour, label=literal(level.name), zorder=1, **look)
        axes.set_yticks(range(len(rows)), [literal(row.name) for row in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row is at the top
        if axis.log_from is not None:
            axes.set_xscale("symlog", linthresh=axis.log_from)
            if axis.limits is not None:
                axes.set_xlim(axis.limits[0] - 0.1 * axis.log_from, 1.2 * axis.limits[1])
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        elif axis.limits is not None:
            # A margin: without it marks at the limits would be cut in half.
            axes.set_xlim(axis.limits[0] - 0.02, axis.limits[1] + 0.02)
        axes.set_xlabel(literal(axis.label))
        axes.tick_params(axis="y", length=0)
        if len(names) > 1 or axis.levels:
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)

    height = 1.25 + len(rows) * (ROW + MORE * (len(names) - 1))
    description = "; ".join(f"{row.name} {_means(row)}" for row in rows)
    return svg.render(draw, title, (4.6, height), description)


def _draw_series(
    axes: Axes,
    rows: Sequence[Dots],
    name: str,
    index: int,
    count: int,
    limits: tuple[float, float] | None,
) -> None:
    colour, marker = svg.colour(index), svg.marker(index)
    shift = 0.0 if count < 2 else 0.5 * (index / (count - 1) - 0.5)
    means, heights = [], []
    for index_of_row, row in enumerate(rows):
        values = row.series.get(name) or ()
        if not values:
            continue
        means.append(float(np.mean(values)))
        height = index_of_row + shift
        heights.append(height)
        bounds = significance.interval(values)
        if bounds is not None:
            low, high = bounds if limits is None else np.clip(bounds, *limits)
            axes.plot([low, high], [height] * 2, color=colour, alpha=0.55, lw=1)
        if len(values) > 1:
            seeds = [height] * len(values)
            axes.plot(values, seeds, ls="none", marker=marker, ms=2.5, mew=0, color=colour)
    look: dict[str, Any] = {"ls": "none", "marker": marker, "ms": 5.5, "mew": 0, "color": colour}
    axes.plot(means, heights, label=literal(name), **look)


def _means(row: Dots) -> str:
    return ", ".join(
        f"{name} {np.mean(values):.3g}" for name, values in row.series.items() if values
    )
