"""Rendering of a plot as an SVG element with equal bytes from equal data, and training curves.

The elements are fragments of a page: transparent, with text and axes in `currentColor`, so that
they follow the colours of a light or dark page.
"""

import contextlib
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.figures.names import literal, printable

#: One colour per model, each with at least 3:1 contrast on a white and on a dark page.
COLOURS = (
    *("#3b7dd8", "#d9730d", "#2e9e5b", "#d64550", "#8f63d2"),
    *("#1596a3", "#d0549f", "#8a8a1f", "#a0694a", "#7d8590"),
)
#: One marker per series, which identifies it without its colour.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
#: Placeholder of the page's text colour while matplotlib draws.
NEUTRAL = "#010203"
#: Start of matplotlib's warning that names left no room for the axes.
NO_ROOM = "constrained_layout not applied"
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
    """One line: `x` (T,) and one `y` (T,) per seed; `style` is the index of colour and marker."""

    name: str
    style: int
    x: Sequence[float]
    seeds: Sequence[Sequence[float]]


def curve_plot(curves: Sequence[Curves], title: str, x_label: str) -> str:
    """Training curves: the mean over the seeds and a band from their minimum to their maximum.

    The range of the y axis ignores the first tenth of the run, in which a loss falls so far that
    the rest would look like a flat line.

    Args:
        curves: The lines; values that are not finite leave a gap.
        title: Title of the plot, and its label for screen readers.
        x_label: Label of the x axis, whose ticks are integers.

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

    return render(draw, title, (4.2, 2.8))


def colour(style: int) -> str:
    """The colour of a style index."""
    return COLOURS[style % len(COLOURS)]


def marker(style: int) -> str:
    """The marker of a style index."""
    return MARKERS[style % len(MARKERS)]


def _line(style: int) -> dict[str, Any]:
    dashed = style // len(COLOURS) % 2 == 1  # the colours repeat
    look = {"color": colour(style), "marker": marker(style), "ms": 4, "mew": 0, "lw": 1.4}
    return look | {"ls": "--" if dashed else "-"}


def render(
    draw: Callable[[Axes], None], title: str, size: tuple[float, float], description: str = ""
) -> str:
    """Draws one plot and returns an SVG element for use inside a page.

    Args:
        draw: Function that draws into the axes.
        title: Title of the plot, and its label for screen readers; must be unique on a page.
        size: Width and height in inches; doubled until long names leave room for the axes.
        description: The values in words for screen readers, read after the title (default: none).
    """
    title, description = printable(title), printable(description)
    with mpl.rc_context({**STYLE}), _without_glyph_warnings():
        warnings.filterwarnings("error", NO_ROOM)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_title(literal(title), loc="left")
        try:
            draw(axes)
            return as_element(figure, title, description)
        except UserWarning as warning:
            if NO_ROOM not in str(warning):
                raise
    return render(draw, title, (2 * size[0], 2 * size[1]), description)


@contextlib.contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """The fonts of the page may have a glyph that the font of matplotlib lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def as_element(figure: Figure, title: str, description: str = "") -> str:
    """A figure that was drawn in `STYLE`, as an SVG element for use inside a page.

    Args:
        figure: The figure.
        title: Its label for screen readers; must be unique on a page.
        description: The values in words for screen readers, read after the title (default: none).
    """
    # The title is the salt of the ids, so that two plots of one page have different ids; matplotlib
    # reads "none" as no salt.
    look = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"plot {title}"})
    with look, _without_glyph_warnings():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()  # without prolog and doctype, which a page has itself
    # Ids like axes_1 are the same in every plot, and a style element would affect the whole page.
    text = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace(NEUTRAL, "currentColor")
    text = _compact(text)
    label = html.escape(f"{title}. {description}" if description else title, quote=True)
    # Without a fixed size the page scales the plot by its viewBox.
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace(
        "<svg ", f'<svg role="img" aria-label="{label}" stroke-linejoin="round" ', 1
    )


def _compact(text: str) -> str:
    """Removes font names, which the page sets, and digits beyond 0.01 points: half of the bytes."""
    text = re.sub(r' font-family: [^;"]*;?| transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r' [xyd]="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), text)
    return re.sub(r"\n\s+", "\n", text)
