"""Plots, byte for byte the same from equal data.

They are SVG fragments for a page: transparent, their text and axes in `currentColor`, so that they
take the colour of the page they stand in, light or dark.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

#: One colour a model, each with at least 3:1 contrast on a white and on a dark page.
COLOURS = (
    *("#3b7dd8", "#d9730d", "#2e9e5b", "#d64550", "#8f63d2"),
    *("#1596a3", "#d0549f", "#8a8a1f", "#a0694a", "#7d8590"),
)
#: So that a series is known without its colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
#: Of more bars than so many the numbers below them would run into one another.
MAX_NUMBERED = 24
#: Room for so many bars, so that two do not fill the plot.
MIN_BARS = 8
#: Stands for the page's text colour while matplotlib draws.
NEUTRAL = "#010203"
STYLE: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": NEUTRAL,
    "axes.labelcolor": NEUTRAL,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": NEUTRAL,
    "xtick.color": NEUTRAL,
    "ytick.color": NEUTRAL,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": NEUTRAL,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "axes.unicode_minus": True,
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """One named line: `x` (T,) and one `y` (T,) for each seed; `style` picks colour and marker."""

    name: str
    style: int
    x: Sequence[float]
    seeds: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Points:
    """One named model in a plane: a point (x, y) for each seed; `style` picks colour and marker."""

    name: str
    style: int
    seeds: Sequence[tuple[float, float]]


def curve_plot(curves: Sequence[Curves], title: str, x_label: str) -> str:
    """Lines over training: the mean of the seeds, and a band from their minimum to their maximum.

    The first tenth of the run does not set the range of the y axis: a loss falls so far there that
    everything after it would be a flat line.

    Args:
        curves: What to draw; values that are not finite leave a hole.
        title: Stands above the plot and, for screen readers, for the whole of it.
        x_label: Name of x, which counts something: its ticks are whole numbers.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        shown: list[Floats] = []
        for line in curves:
            length = min(len(line.x), *map(len, line.seeds))
            x = np.asarray(line.x[:length], dtype=np.float64)
            y = np.array([seed[:length] for seed in line.seeds], dtype=np.float64)
            axes.fill_between(x, y.min(0), y.max(0), color=_colour(line.style), alpha=0.2, lw=0)
            axes.plot(x, y.mean(0), markevery=max(1, length // 6), **_line(line.style))
            late = y[:, x >= x[0] + 0.1 * (x[-1] - x[0])]
            shown.append(late[np.isfinite(late)])
        values = np.concatenate(shown)
        if values.size:
            margin = 0.06 * float(np.ptp(values)) or 0.5
            axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return _svg(draw, title, (4.2, 2.8))


def scatter_plot(
    points: Sequence[Points],
    title: str,
    labels: tuple[str, str],
    *,
    floor: float | None = None,
    equal_sums: bool = False,
) -> str:
    """Models in a plane: a large mark at the mean of the seeds, a small one for each seed.

    Args:
        points: What to draw, one entry a model.
        title: Stands above the plot.
        labels: Names of the x and the y axis.
        floor: The y of held-out real images, drawn as a line.
        equal_sums: Adds lines of equal x + y: in a rate-distortion plane, of equal ELBO.

    Returns:
        An SVG element.
    """

    def draw(axes: Axes) -> None:
        axes.margins(0.18)
        means = []
        for model in points:
            seeds = np.array(model.seeds, dtype=np.float64)
            look: dict[str, Any] = {
                "color": _colour(model.style),
                "marker": _marker(model.style),
                "ls": "none",
            }
            axes.plot(*seeds.T, ms=3, alpha=0.55, mew=0, **look)
            axes.plot(*seeds.mean(0)[:, None], ms=7.5, mew=0, **look)
            means.append(seeds.mean(0))
        axes.set(xlabel=labels[0], ylabel=labels[1])
        every_x = [x for model in points for x, _ in model.seeds]
        # Equal sums are straight lines on linear axes alone.
        if not equal_sums and min(every_x) > 0 and max(every_x) > 20 * min(every_x):
            axes.set_xscale("log")
        if max(every_x) >= 10_000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if floor is not None:
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(bottom, floor - 0.08 * (top - floor)), top)
            axes.axhline(floor, color=NEUTRAL, alpha=0.5, lw=0.8, ls=(0, (5, 3)))
            spot = axes.get_yaxis_transform()
            axes.annotate(
                "held-out real images", (0.01, floor), (0, 3), spot, "offset points", size=7
            )
        if equal_sums:
            _draw_equal_sums(axes)
        _draw_names(axes, [model.name for model in points], np.array(means))

    return _svg(draw, title, (4.6, 3.2))


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
        fills = [_colour(style) if used else "none" for used in active]
        axes.bar(places, rates, color=fills, edgecolor=_colour(style), linewidth=0.8)
        # A tenth of a nat is nothing: bars of a model that uses no dimension must not look tall.
        top = 1.08 * max(0.1, *rates)
        idle = places[~np.asarray(active, dtype=bool)]
        crosses = [rates[place] + 0.04 * top for place in idle]
        axes.plot(idle, crosses, ls="none", marker="x", ms=4, color=NEUTRAL)
        axes.set(xlabel="latent dimension", ylabel="rate (nats/image)", ylim=(0, top))
        axes.set_xlim(-0.7, max(len(rates), MIN_BARS) - 0.3)
        axes.grid(visible=False, axis="x")
        if len(rates) <= MAX_NUMBERED:
            axes.set_xticks(places, [str(dimension) for dimension in dimensions], fontsize=7)
        else:
            axes.set_xticks([])

    return _svg(draw, title, (4.2, 2.4))


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
                "color": _colour(label),
                "marker": _marker(label // len(COLOURS)),
                "label": None if labels is None else class_names[label],
            }
            axes.plot(*points[classes == label].T, ls="none", ms=2.5, mew=0, **look)
        axes.set(xlabel="z_0", ylabel="z_1")
        axes.set_aspect("equal", adjustable="datalim")
        if labels is not None and len(class_names) <= 2 * len(COLOURS):
            columns = 1 + (len(class_names) > len(COLOURS))
            axes.legend(
                ncols=columns,
                frameon=False,
                markerscale=2,
                fontsize=8,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )

    return _svg(draw, title, (4.6, 3.8))


def _draw_equal_sums(axes: Axes) -> None:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for total in MaxNLocator(6).tick_values(left + bottom, right + top)[1:-1]:
        axes.axline((0, total), slope=-1, color=NEUTRAL, alpha=0.5, lw=0.7, ls=(0, (2, 3)))
        x = max(left, total - top)
        if x < right and total - x > bottom:
            y = total - x
            axes.annotate(f"{total:g}", (x, y), (3, -8), textcoords="offset points", size=7)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_names(axes: Axes, names: Sequence[str], means: Floats) -> None:
    """Writes each name beside its mark, and moves it up where it would lie on another name."""
    figure = axes.get_figure(root=True)
    if figure is None or not len(means):
        return
    figure.draw_without_rendering()  # the layout decides where the marks are
    places = axes.transData.transform(means)
    middle = axes.bbox.x0 + axes.bbox.width * 0.55
    line = figure.dpi / 72 * 10
    taken: list[tuple[bool, float, float]] = []
    for index in np.argsort(places[:, 1], kind="stable"):
        x, y = (float(value) for value in places[index])
        to_left, height = x > middle, y
        for side, other_x, other_y in taken:
            near = side == to_left and abs(other_x - x) < 6 * line
            if near and height - other_y < line:
                height = other_y + line
        taken.append((to_left, x, height))
        axes.annotate(
            names[index],
            (float(means[index, 0]), float(means[index, 1])),
            ((-8 if to_left else 8), (height - y) * 72 / figure.dpi),
            textcoords="offset points",
            ha="right" if to_left else "left",
            va="center",
            size=8,
        )


def _colour(style: int) -> str:
    return COLOURS[style % len(COLOURS)]


def _marker(style: int) -> str:
    return MARKERS[style % len(MARKERS)]


def _line(style: int) -> dict[str, Any]:
    again = style // len(COLOURS) % 2 == 1  # the colours start anew: draw dashes
    look = {"color": _colour(style), "marker": _marker(style), "ms": 4, "mew": 0, "lw": 1.4}
    return look | {"ls": "--" if again else "-"}


def _svg(draw: Callable[[Axes], None], title: str, size: tuple[float, float]) -> str:
    """Draws one plot and turns it into an element that can stand inside a page."""
    # The title salts the ids, so that two plots of one page share none.
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(title, loc="left")
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()  # prolog and doctype have no place inside a page
    # Names like axes_1 are the same in every plot; the style would be one of the whole page.
    text = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace(NEUTRAL, "currentColor")
    text = _without_ballast(text)
    label = html.escape(title, quote=True)
    # Without a fixed size the page scales it by its viewBox.
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace(
        "<svg ", f'<svg role="img" aria-label="{label}" stroke-linejoin="round" ', 1
    )


def _without_ballast(text: str) -> str:
    """Halves an SVG element: the page names the font, and a hundredth of a point is fine enough."""
    text = re.sub(r' font-family: [^;]*;| transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r' [xyd]="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    return re.sub(r"\n\s+", "\n", text)
