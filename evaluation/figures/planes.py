"""Models in a plane: trade-offs between two values, and what lies beyond whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from matplotlib.transforms import Transform

from evaluation.figures import label_placement
from evaluation.figures import svg as figures

#: Points: how wide a mark is, and one of twice the least area.
MARK = 7.5
#: Points: the size of the names.
NAME = 7.5
#: Of the largest area a mark may have, in units of the usual one.
MAX_AREA = 5.0
#: Values whose largest is so many times the smallest get a logarithmic axis.
FAR = 20.0
#: Where the strip beside the plane stands, in widths of the plane.
STRIP = 1.09


@dataclass(frozen=True)
class Points:
    """One named model in a plane.

    Attributes:
        name: Written beside the mark.
        style: Picks colour and marker; None for a reference row, which is a small hollow mark.
        seeds: (x, y) of each seed. One that has no x has NaN there and stands in a strip beside
            the plane.
        weight: What the area of the mark shows, from 0 to 1; None for marks of one size.
    """

    name: str
    style: int | None
    seeds: Sequence[tuple[float, float]]
    weight: float | None = None

    @property
    def mean(self) -> tuple[float, float]:
        """Of the seeds."""
        x, y = np.array(self.seeds, dtype=np.float64).mean(0)
        return float(x), float(y)


@dataclass(frozen=True)
class Marks:
    """What is drawn into a plane beside the models.

    Attributes:
        floor: The y of held-out real images, as a line.
        frontier: A line along the models that none beats in both: `lower` or `higher` says which y
            is better; x is a cost, of which less is better.
        equal_sums: Lines of equal x + y, with minus the sum written at each: in a rate-distortion
            plane the ELBO.
        shaded: The quarter of the plane below this x and y, and what it is.
        strip: What the models of the strip lack.
    """

    floor: float | None = None
    frontier: str | None = None
    equal_sums: bool = False
    shaded: tuple[float, str] | None = None
    strip: str = ""


def frontier(means: Sequence[tuple[float, float]], better: str) -> list[tuple[float, float]]:
    """The points that none other beats in both values, from the least x on.

    Args:
        means: (x, y); of x less is better.
        better: Which y is better, `lower` or `higher`.
    """
    sign = 1 if better == "lower" else -1
    found: list[tuple[float, float]] = []
    for x, y in sorted(set(means), key=lambda point: (point[0], sign * point[1])):
        if not found or sign * y < sign * found[-1][1]:
            found.append((x, y))
    return found


def plane_plot(
    points: Sequence[Points], title: str, labels: tuple[str, str], marks: Marks = Marks()
) -> str:
    """Models in a plane: a large mark at the mean of the seeds, a small one for each seed.

    Args:
        points: What to draw, one entry a model.
        title: Stands above the plot.
        labels: Names of the x and the y axis.
        marks: What is drawn beside them.

    Returns:
        An SVG element; screen readers are told each model's mean.
    """
    inside = [model for model in points if np.isfinite(model.mean[0])]
    beside = [model for model in points if not np.isfinite(model.mean[0])]

    def draw(axes: Axes) -> None:
        axes.margins(0.18)
        # Sums and quarters are what they are on linear axes alone.
        if not marks.equal_sums and marks.shaded is None:
            _scale(axes, inside, points)
        for model in inside:
            _draw_model(axes, model, None)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        at_strip = axes.get_yaxis_transform()
        if beside:
            edge: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            axes.plot([1, 1], [0, 1], color=figures.NEUTRAL, lw=0.6, **edge)
            axes.annotate(
                marks.strip, (STRIP, 1), (0, 3), "axes fraction", "offset points", size=7,
                ha="center", va="bottom",
            )  # fmt: skip
            for model in beside:
                _draw_model(axes, model, at_strip)
        _draw_marks(axes, [model.mean for model in inside], marks)
        named = [(m.name, axes.transData, m.mean) for m in inside]
        named += [(m.name, at_strip, (STRIP, m.mean[1])) for m in beside]
        # On the line along the best, names stand above or below it.
        _draw_names(axes, named, 0.85 if marks.frontier else 0.0)

    means = "; ".join(f"{m.name} {_pair(*m.mean)}" for m in points)
    return figures.svg(draw, title, (5, 3.6), f"{labels[0]}, {labels[1]}: {means}")


def _pair(x: float, y: float) -> str:
    return f"{y:.3g}" if np.isnan(x) else f"{x:.3g}, {y:.3g}"


def _thin() -> dict[str, Any]:
    return {"color": figures.NEUTRAL, "alpha": 0.5, "lw": 0.8, "ls": (0, (5, 3))}


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
        look = {"color": figures.NEUTRAL, "marker": "o", "mfc": "none", "alpha": 0.7, "ms": 4}
        axes.plot(*seeds.mean(0)[:, None], **look, **where)
        return
    look = {"color": figures.colour(model.style), "marker": figures.marker(model.style), "mew": 0}
    axes.plot(*seeds.T, ms=3, alpha=0.55, **look, **where)
    if model.weight is None:
        axes.plot(*seeds.mean(0)[:, None], ms=MARK, **look, **where)
        return
    # Of large marks those behind have to show through.
    size = MARK * (1 + model.weight * (MAX_AREA - 1)) ** 0.5
    axes.plot(*seeds.mean(0)[:, None], ms=size, alpha=0.75, **look, **where)


def _draw_marks(axes: Axes, means: Sequence[tuple[float, float]], marks: Marks) -> None:
    if marks.floor is not None:
        _draw_floor(axes, marks.floor)
    if marks.frontier is not None and means:
        limits = axes.get_xlim(), axes.get_ylim()
        best = frontier(means, marks.frontier)
        # Nothing that was trained lies beyond the corners, so the line goes round them; from its
        # ends it leaves the plane.
        top = limits[1][1 if marks.frontier == "lower" else 0]
        x, y = zip((best[0][0], top), *best, (limits[0][1], best[-1][1]), strict=True)
        axes.plot(x, y, drawstyle="steps-post", color=figures.NEUTRAL, alpha=0.6, lw=1, zorder=1)
        axes.set(xlim=limits[0], ylim=limits[1])
    if marks.equal_sums:
        _draw_equal_sums(axes)
    if marks.shaded is not None:
        limit, text = marks.shaded
        left, bottom = min(axes.get_xlim()[0], limit - 5), min(axes.get_ylim()[0], limit - 5)
        axes.set_xlim(left=left)
        axes.set_ylim(bottom=bottom)
        size = (limit - left, limit - bottom)
        axes.add_patch(Rectangle((left, bottom), *size, fc=figures.NEUTRAL, alpha=0.1, lw=0))
        axes.annotate(text, (left, bottom), (3, 3), textcoords="offset points", size=7, va="bottom")


def _draw_floor(axes: Axes, floor: float) -> None:
    bottom, top = axes.get_ylim()
    if axes.get_yscale() == "log":
        if floor <= 0:
            return  # lies below every logarithmic axis
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
        axes.axline((0, total), slope=-1, color=figures.NEUTRAL, alpha=0.5, lw=0.7, ls=(0, (2, 3)))
        x = max(left, total - top)
        if x < right and total - x > bottom:
            text = f"{word}{-total:g}".replace("-", "\N{MINUS SIGN}") + (" nats" if word else "")
            axes.annotate(text, (x, total - x), (3, -8), textcoords="offset points", size=7)
            word = ""  # the first line says what the numbers are
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_names(
    axes: Axes, named: Sequence[tuple[str, Transform, tuple[float, float]]], least: float
) -> None:
    """Writes each name beside its mark, with a thin line to it where it had to move away."""
    figure = axes.get_figure(root=True)
    if figure is None or not named:
        return
    figure.draw_without_rendering()  # the layout decides where the marks are
    points = np.array([transform.transform(spot) for _, transform, spot in named])
    names = [name for name, _, _ in named]
    found = label_placement.places(points * 72 / figure.dpi, names, NAME, MARK, least)
    for (name, transform, spot), (aside, shift, to_left) in zip(named, found, strict=True):
        moved = abs(shift) > 1.5 * NAME
        axes.annotate(
            name,
            spot,
            (aside, shift),
            transform,
            "offset points",
            {"arrowstyle": "-", "lw": 0.4, "color": figures.NEUTRAL, "alpha": 0.6, "shrinkA": 0}
            if moved
            else None,
            ha="right" if to_left else "left",
            va="center",
            size=NAME,
        )
