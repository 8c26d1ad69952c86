"""Plots of latent spaces: the rate of each dimension, and the codes of images in a plane."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from evaluation.figures import svg
from evaluation.figures.names import literal

#: Largest number of bars with numbers below them; more numbers would overlap.
MAX_NUMBERED = 24
#: Smallest number of bars that the width is divided by, so that two bars do not fill the plot.
MIN_BARS = 8


def rate_plot(
    rates: Sequence[float],
    active: Sequence[bool],
    dimensions: Sequence[int],
    title: str,
    style: int,
) -> str:
    """One bar per latent dimension; the bar of an inactive dimension is hollow with a cross.

    Args:
        rates: Rate of each dimension in nats, in the order of the bars.
        active: Whether the posterior mean of each dimension varies over the images.
        dimensions: Index of each dimension, written below up to `MAX_NUMBERED` bars.
        title: Title of the plot.
        style: Index of the colour.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(rates))
        fills = [svg.colour(style) if used else "none" for used in active]
        axes.bar(places, rates, color=fills, edgecolor=svg.colour(style), linewidth=0.8)
        # At least 0.1 nats, so that the bars of a collapsed model look small.
        top = 1.08 * max(0.1, *rates)
        idle = places[~np.asarray(active, dtype=bool)]
        crosses = [rates[place] + 0.04 * top for place in idle]
        axes.plot(idle, crosses, ls="none", marker="x", ms=4, color=svg.NEUTRAL)
        axes.set(xlabel="latent dimension", ylabel="rate (nats/image)", ylim=(0, top))
        axes.set_xlim(-0.7, max(len(rates), MIN_BARS) - 0.3)
        axes.grid(visible=False, axis="x")
        if len(rates) <= MAX_NUMBERED:
            axes.set_xticks(places, [str(dimension) for dimension in dimensions], fontsize=7)
        else:
            axes.set_xticks([])

    return svg.render(draw, title, (4.2, 2.4))


def class_plot(
    codes: Sequence[tuple[float, float]],
    labels: Sequence[int] | None,
    class_names: Sequence[str],
    title: str,
) -> str:
    """Points in a plane, coloured by class.

    Args:
        codes: (x, y) of each image.
        labels: Class of each image; None without labels.
        class_names: Names for the legend, which is omitted for more than 20 classes.
        title: Title of the plot.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        points = np.array(codes, dtype=np.float64)
        classes = np.zeros(len(points), dtype=np.int64) if labels is None else np.asarray(labels)
        for label in np.unique(classes):
            look: dict[str, Any] = {
                "color": svg.colour(label),
                "marker": svg.marker(label // len(svg.COLOURS)),
                "label": None if labels is None else literal(class_names[label]),
            }
            axes.plot(*points[classes == label].T, ls="none", ms=2.5, mew=0, **look)
        axes.set(xlabel="z_0", ylabel="z_1")
        axes.set_aspect("equal", adjustable="datalim")
        if labels is not None and len(class_names) <= 2 * len(svg.COLOURS):
            columns = 1 + (len(class_names) > len(svg.COLOURS))
            axes.legend(
                ncols=columns,
                frameon=False,
                markerscale=2,
                fontsize=8,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )

    return svg.render(draw, title, (4.6, 3.8))
