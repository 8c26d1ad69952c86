"""Reliability diagrams: the share of real images against a discriminator's probability of real."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from evaluation.figures import svg
from evaluation.figures.names import literal
from evaluation.metrics.discriminator import BINS

#: Area of the mark of a bin with all images, in points squared.
LARGEST = 220.0


@dataclass(frozen=True)
class Reliability:
    """One model: (B, 3) bins of mean probability, share of real images and number of images."""

    name: str
    style: int
    bins: Sequence[Sequence[float]]


def pooled(seeds: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Joins the bins of several seeds: weighted means and the total number of images per bin."""
    parts: dict[int, list[list[float]]] = {}
    for bins in seeds:
        for probability, real, count in bins:
            index = min(int(probability * BINS), BINS - 1)
            parts.setdefault(index, []).append([probability * count, real * count, count])
    sums = [[sum(column) for column in zip(*parts[index], strict=True)] for index in sorted(parts)]
    return [[probability / count, real / count, count] for probability, real, count in sums]


def reliability_plot(models: Sequence[Reliability], title: str) -> str:
    """One mark per bin, with an area proportional to its share of images, and the diagonal.

    The marks of a calibrated discriminator lie on the diagonal.

    Args:
        models: The models to draw.
        title: Title of the plot.

    Returns:
        An SVG element whose description for screen readers has every bin.
    """
    description = "; ".join(
        f"{model.name} "
        + ", ".join(f"{real:.2g} real at {probability:.2g}" for probability, real, _ in model.bins)
        for model in models
    )

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=svg.NEUTRAL, lw=1, ls=(0, (5, 3)), alpha=0.5)
        for model in models:
            probabilities, real, counts = np.asarray(model.bins, dtype=np.float64).T
            areas = 4 + LARGEST * counts / counts.sum()
            colour, marker = svg.colour(model.style), svg.marker(model.style)
            look: dict[str, Any] = {"color": colour, "marker": marker, "alpha": 0.75, "lw": 0}
            axes.scatter(probabilities, real, areas, label=literal(model.name), **look)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="predicted probability of real", ylabel="share of real images")
        axes.legend(frameon=False, fontsize=8, markerscale=0.6, loc="upper left")

    return svg.render(draw, title, (4.2, 3.4), description)
