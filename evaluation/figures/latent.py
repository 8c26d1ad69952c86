"""Plots of latent spaces: the rate of each dimension, and where images lie."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from evaluation.figures import svg as figures

#: Of more bars than so many the numbers below them would run into one another.
MAX_NUMBERED = 24
#: Room for so many bars, so that two do not fill the plot.
MIN_BARS = 8


def rate_plot(
    rates: Sequence[float],
    active: Sequence[bool],
    dimensions: Sequence[int],
    title: str,
    style: int,
) -> str:
    """The rate of each latent dimension as a bar; an inactive one is hollow and crossed.

    Args:
        rates: Nats, in the order in which the bars stand.
        active: Of each dimension, whether its mean varies over the images.
        dimensions: Their numbers, which are written below the bars where there is room.
        title: Stands above the plot.
        style: Picks the colour.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(rates))
        fills = [figures.colour(style) if used else "none" for used in active]
        axes.bar(places, rates, color=fills, edgecolor=figures.colour(style), linewidth=0.8)
        # A tenth of a nat is nothing: bars of a model that uses no dimension must not look tall.
        top = 1.08 * max(0.1, *rates)
        idle = places[~np.asarray(active, dtype=bool)]
        crosses = [rates[place] + 0.04 * top for place in idle]
        axes.plot(idle, crosses, ls="none", marker="x", ms=4, color=figures.NEUTRAL)
        axes.set(xlabel="latent dimension", ylabel="rate (nats/image)", ylim=(0, top))
        axes.set_xlim(-0.7, max(len(rates), MIN_BARS) - 0.3)
        axes.grid(visible=False, axis="x")
        if len(rates) <= MAX_NUMBERED:
            axes.set_xticks(places, [str(dimension) for dimension in dimensions], fontsize=7)
        else:
            axes.set_xticks([])

    return figures.svg(draw, title, (4.2, 2.4))


def class_plot(
    codes: Sequence[tuple[float, float]],
    labels: Sequence[int] | None,
    class_names: Sequence[str],
    title: str,
) -> str:
    """Points in a plane, coloured by class.

    Args:
        codes: (x, y) of each.
        labels: The class of each, or None where there are none.
        class_names: For the legend, which more than 20 classes do without.
        title: Stands above the plot.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        points = np.array(codes, dtype=np.float64)
        classes = np.zeros(len(points), dtype=np.int64) if labels is None else np.asarray(labels)
        for label in np.unique(classes):
            look: dict[str, Any] = {
                "color": figures.colour(label),
                "marker": figures.marker(label // len(figures.COLOURS)),
                "label": None if labels is None else class_names[label],
            }
            axes.plot(*points[classes == label].T, ls="none", ms=2.5, mew=0, **look)
        axes.set(xlabel="z_0", ylabel="z_1")
        axes.set_aspect("equal", adjustable="datalim")
        if labels is not None and len(class_names) <= 2 * len(figures.COLOURS):
            columns = 1 + (len(class_names) > len(figures.COLOURS))
            axes.legend(
                ncols=columns,
                frameon=False,
                markerscale=2,
                fontsize=8,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )

    return figures.svg(draw, title, (4.6, 3.8))
