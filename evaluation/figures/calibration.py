"""Reliability diagrams: how often an image is real of which a discriminator says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from evaluation.figures import svg as figures
from evaluation.metrics.discriminator import BINS

#: Area of the mark of a bin that has all images, in points squared.
LARGEST = 220.0


@dataclass(frozen=True)
class Reliability:
    """One model: (B, 3) bins of mean probability, share of real images, number of images."""

    name: str
    style: int
    bins: Sequence[Sequence[float]]


def pooled(seeds: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """The bins of several seeds, bin by bin: their weighted means, and their images together."""
    found: dict[int, list[list[float]]] = {}
    for bins in seeds:
        for told, real, count in bins:
            place = min(int(told * BINS), BINS - 1)
            found.setdefault(place, []).append([told * count, real * count, count])
    sums = [[sum(column) for column in zip(*found[place], strict=True)] for place in sorted(found)]
    return [[told / count, real / count, count] for told, real, count in sums]


def reliability_plot(models: Sequence[Reliability], title: str) -> str:
    """A mark a bin, its area the bin's share of the images; what is calibrated is on the diagonal.

    Args:
        models: What to draw.
        title: Stands above the plot.

    Returns:
        An SVG element; screen readers are told every bin.
    """
    said = "; ".join(
        f"{model.name} "
        + ", ".join(f"of {told:.2g} told {real:.2g}" for told, real, _ in model.bins)
        for model in models
    )

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=figures.NEUTRAL, lw=1, ls=(0, (5, 3)), alpha=0.5)
        for model in models:
            told, real, counts = np.asarray(model.bins, dtype=np.float64).T
            areas = 4 + LARGEST * counts / counts.sum()
            colour, marker = figures.colour(model.style), figures.marker(model.style)
            axes.scatter(
                told, real, areas, color=colour, marker=marker, alpha=0.75, lw=0, label=model.name
            )
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="told probability of being real", ylabel="share that is real")
        axes.legend(frameon=False, fontsize=8, markerscale=0.6, loc="upper left")

    return figures.svg(draw, title, (4.2, 3.4), said)
