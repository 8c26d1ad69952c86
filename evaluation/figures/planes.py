"""Scatter plots of models: trade-offs between two values, with an optional Pareto frontier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import Transform

from evaluation.figures import label_placement, svg
from evaluation.figures.names import literal

#: Width of a mark of weight 0 or without weight, in points.
MARK = 7.5
#: Font size of the names, in points.
NAME = 7.5
#: Area of a mark of weight 1, relative to one of weight 0.
MAX_AREA = 5.0
#: Ratio of the largest to the smallest value above which an axis is logarithmic.
FAR = 20.0
#: x of the strip beside the plane, in widths of the plane.
STRIP = 1.09


@dataclass(frozen=True)
class Points:
    """One named model in a plane.

    Attributes:
        name: Text next to the mark.
        style: Index of colour and marker; None for a reference row, drawn as a small hollow mark.
        seeds: (x, y) of each seed; a model without x has NaN and is drawn in a strip beside the
            plane.
        weight: Quantity shown as the area of the mark, in [0, 1]; None (default) for equal marks.
    """

    name: str
    style: int | None
    seeds: Sequence[tuple[float, float]]
    weight: float | None = None

    @property
    def mean(self) -> tuple[float, float]:
        """The mean (x, y) of the seeds."""
        x, y = np.array(self.seeds, dtype=np.float64).mean(0)
        return float(x), float(y)


@dataclass(frozen=True)
class Marks:
    """Lines and areas of a plane, besides the models.

    Attributes:
        floor: y of held-out real images, drawn as a line (default: none).
        frontier: Draws the Pareto frontier: `lower` or `higher` is the better y; x is a cost, for
            which lower is better (default: none).
        equal_sums: Whether to draw lines of equal x + y, each labelled with minus the sum: the ELBO
            in a rate-distortion plane (default: no).
        shaded: A limit and a text: shades the area where x and y are below the limit (default:
            none).
        strip: Title of the strip, which names what its models lack.
    """

    floor: float | None = None
    frontier: str | None = None
    equal_sums: bool = False
    shaded: tuple[float, str] | None = None
    strip: str = ""


def frontier(means: Sequence[tuple[float, float]], better: str) -> list[tuple[float, float]]:
    """The Pareto frontier: the points that no other point beats in both values, by ascending x.

    Args:
        means: (x, y) points; lower x is better.
        better: The better y, `lower` or `higher`.
    """
    sign = 1 if better == "lower" else -1
    best: list[tuple[float, float]] = []
    for x, y in sorted(set(means), key=lambda point: (point[0], sign * point[1])):
        if not best or sign * y < sign * best[-1][1]:
            best.append((x, y))
    return best


def plane_plot(
    points: Sequence[Points], title: str, labels: tuple[str, str], marks: Marks = Marks()
) -> str:
    """Models in a plane: a large mark at the mean of the seeds, a small mark for each seed.

    Args:
        points: One entry per model.
        title: Title of the plot.
        labels: Labels of the x and the y axis.
        marks: Lines and areas besides the models (default: none).

    Returns:
        An SVG element whose description for screen readers has each model's mean.
    """
    inside = [model for model in points if np.isfinite(model.mean[0])]
    in_strip = [model for model in points if not np.isfinite(model.mean[0])]

    def draw(axes: Axes) -> None:
        axes.margins(0.18)
        # Lines of equal sums and the shaded area need linear axes.
        if not marks.equal_sums and marks.shaded is None:
            _scale(axes, inside, points)
        for model in inside:
            _draw_model(axes, model, None)
        axes.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
        at_strip = axes.get_yaxis_transform()
        if in_strip:
            edge: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            axes.plot([1, 1], [0, 1], color=svg.NEUTRAL, lw=0.6, **edge)
            axes.annotate(
                literal(marks.strip), (STRIP, 1), (0, 3), "axes fraction", "offset points", size=7,
                ha="center", va="bottom",
            )  # fmt: skip
            for model in in_strip:
                _draw_model(axes, model, at_strip)
        _draw_marks(axes, [model.mean for model in inside], marks)
        named = [(m.name, axes.transData, m.mean) for m in inside]
        named += [(m.name, at_strip, (STRIP, m.mean[1])) for m in in_strip]
        # With a frontier, names are above or below the line.
        _draw_names(axes, named, 0.85 if marks.frontier else 0.0)

    means = "; ".join(f"{m.name} {_pair(*m.mean)}" for m in points)
    return svg.render(draw, title, (5, 3.6), f"{labels[0]}, {labels[1]}: {means}")


def _pair(x: float, y: float) -> str:
    return f"{y:.3g}" if np.isnan(x) else f"{x:.3g}, {y:.3g}"


def _thin() -> dict[str, Any]:
    return {"color": svg.NEUTRAL, "alpha": 0.5, "lw": 0.8, "ls": (0, (5, 3))}


def _scale(axes: Axes, inside: Sequence[Points], points: Sequence[Points]) -> None:
    xs = [x for model in inside for x, _ in model.seeds]
    ys = [y for model in points for _, y in model.seeds]
    for values, axis, set_scale in (
        (xs, axes.xaxis, axes.set_xscale),
        (ys, axes.yaxis, axes.set_yscale),
    ):
        if values and min(values) > 0 and max(values) > FAR * min(values):
            set_scale("log")
        if values and max(values) >= 10_000:
            axis.set_major_formatter(EngFormatter(sep=""))
            axis.set_minor_formatter(NullFormatter())


def _draw_model(axes: Axes, model: Points, strip: Transform | None) -> None:
    seeds = np.array(model.seeds, dtype=np.float64)
    where: dict[str, Any] = {"ls": "none"}
    if strip is not None:
        seeds[:, 0] = STRIP
        where |= {"transform": strip, "clip_on": False}
    look: dict[str, Any]
    if model.style is None:
        look = {"color": svg.NEUTRAL, "marker": "o", "mfc": "none", "alpha": 0.7, "ms": 4}
        axes.plot(*seeds.mean(0)[:, None], **look, **where)
        return
    look = {"color": svg.colour(model.style), "marker": svg.marker(model.style), "mew": 0}
    axes.plot(*seeds.T, ms=3, alpha=0.55, **look, **where)
    if model.weight is None:
        axes.plot(*seeds.mean(0)[:, None], ms=MARK, **look, **where)
        return
    # Large marks are translucent, so that marks behind them are visible.
    size = MARK * (1 + model.weight * (MAX_AREA - 1)) ** 0.5
    axes.plot(*seeds.mean(0)[:, None], ms=size, alpha=0.75, **look, **where)


def _draw_marks(axes: Axes, means: Sequence[tuple[float, float]], marks: Marks) -> None:
    if marks.floor is not None:
        _draw_floor(axes, marks.floor)
    if marks.frontier is not None and means:
        limits = axes.get_xlim(), axes.get_ylim()
        best = frontier(means, marks.frontier)
        # A staircase, because no trained model lies beyond its corners; both ends leave the plane.
        top = limits[1][1 if marks.frontier == "lower" else 0]
        x, y = zip((best[0][0], top), *best, (limits[0][1], best[-1][1]), strict=True)
        axes.plot(x, y, drawstyle="steps-post", color=svg.NEUTRAL, alpha=0.6, lw=1, zorder=1)
        axes.set(xlim=limits[0], ylim=limits[1])
    if marks.equal_sums:
        _draw_equal_sums(axes)
    if marks.shaded is not None:
        limit, text = marks.shaded
        left, bottom = min(axes.get_xlim()[0], limit - 5), min(axes.get_ylim()[0], limit - 5)
        axes.set_xlim(left=left)
        axes.set_ylim(bottom=bottom)
        size = (limit - left, limit - bottom)
        axes.add_patch(Rectangle((left, bottom), *size, fc=svg.NEUTRAL, alpha=0.1, lw=0))
        place: dict[str, Any] = {"textcoords": "offset points", "va": "bottom"}
        axes.annotate(literal(text), (left, bottom), (3, 3), size=7, **place)


def _draw_floor(axes: Axes, floor: float) -> None:
    bottom, top = axes.get_ylim()
    if axes.get_yscale() == "log":
        if floor <= 0:
            return  # a logarithmic axis has no such value
        bottom = min(bottom, floor * (floor / top) ** 0.1)
    else:
        bottom = min(bottom, floor - 0.1 * (top - floor))
    axes.set_ylim(bottom, max(top, floor))
    axes.axhline(floor, **_thin())
    spot = axes.get_yaxis_transform()
    axes.annotate(
        "held-out real images", (0.01, floor), (0, -3), spot, "offset points", size=7, va="top"
    )


def _draw_equal_sums(axes: Axes) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    word = "ELBO "
    for total in MaxNLocator(6).tick_values(left + bottom, right + top)[1:-1]:
        axes.axline((0, total), slope=-1, color=svg.NEUTRAL, alpha=0.5, lw=0.7, ls=(0, (2, 3)))
        x = max(left, total - top)
        if x < right and total - x > bottom:
            text = f"{word}{-total:g}".replace("-", "\N{MINUS SIGN}") + (" nats" if word else "")
            axes.annotate(text, (x, total - x), (3, -8), textcoords="offset points", size=7)
            word = ""  # only the first line is labelled with the name and unit
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_names(
    axes: Axes, named: Sequence[tuple[str, Transform, tuple[float, float]]], least: float
) -> None:
    """Writes each name beside its mark, with a thin line between them if the name was moved."""
    figure = axes.get_figure(root=True)
    if figure is None or not named:
        return
    figure.draw_without_rendering()  # computes the layout, and so the positions of the marks
    points = np.array([transform.transform(spot) for _, transform, spot in named])
    names = [name for name, _, _ in named]
    offsets = label_placement.places(points * 72 / figure.dpi, names, NAME, MARK, least)
    for (name, transform, spot), (aside, shift, to_left) in zip(named, offsets, strict=True):
        moved = abs(shift) > 1.5 * NAME
        axes.annotate(
            literal(name),
            spot,
            (aside, shift),
            transform,
            "offset points",
            {"arrowstyle": "-", "lw": 0.4, "color": svg.NEUTRAL, "alpha": 0.6, "shrinkA": 0}
            if moved
            else None,
            ha="right" if to_left else "left",
            va="center",
            size=NAME,
        )
