"""Plots, byte for byte the same from equal data: how one is drawn, and training curves.

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
from matplotlib.ticker import MaxNLocator

#: One colour a model, each with at least 3:1 contrast on a white and on a dark page.
COLOURS = (
    *("#3b7dd8", "#d9730d", "#2e9e5b", "#d64550", "#8f63d2"),
    *("#1596a3", "#d0549f", "#8a8a1f", "#a0694a", "#7d8590"),
)
#: So that a series is known without its colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
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
            axes.fill_between(x, y.min(0), y.max(0), color=colour(line.style), alpha=0.2, lw=0)
            axes.plot(x, y.mean(0), markevery=max(1, length // 6), **_line(line.style))
            late = y[:, x >= x[0] + 0.1 * (x[-1] - x[0])]
            shown.append(late[np.isfinite(late)])
        values = np.concatenate(shown)
        if values.size:
            margin = 0.06 * float(np.ptp(values)) or 0.5
            axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

    return svg(draw, title, (4.2, 2.8))


def colour(style: int) -> str:
    """The colour of a model's number."""
    return COLOURS[style % len(COLOURS)]


def marker(style: int) -> str:
    """The mark of a model's number."""
    return MARKERS[style % len(MARKERS)]


def _line(style: int) -> dict[str, Any]:
    again = style // len(COLOURS) % 2 == 1  # the colours start anew: draw dashes
    look = {"color": colour(style), "marker": marker(style), "ms": 4, "mew": 0, "lw": 1.4}
    return look | {"ls": "--" if again else "-"}


def svg(draw: Callable[[Axes], None], title: str, size: tuple[float, float], told: str = "") -> str:
    """Draws one plot and turns it into an element that can stand inside a page.

    Args:
        draw: Fills the axes.
        title: Stands above the plot and, for screen readers, for the whole of it; unlike that of
            any other plot of the page.
        size: Width and height in inches.
        told: The values in words, which screen readers read behind the title.
    """
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
    label = html.escape(f"{title}. {told}" if told else title, quote=True)
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
