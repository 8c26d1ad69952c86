import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes

from evaluation.figures import svg
from evaluation.figures.svg import Curves

LINES = [Curves("a", 0, [1, 2, 3], [[3.0, 2.0, 1.0], [3.5, 2.5, 1.5]])]
SCRIPT = """
from evaluation.figures.svg import *
from evaluation.figures.planes import *
from evaluation.figures.dots import *
from evaluation.figures.latent import *
print(curve_plot([Curves("a", 0, [1, 2, 3], [[3.0, 2.0, 1.0]])], "elbo", "epoch"))
sums = Marks(frontier="lower", equal_sums=True)
print(plane_plot([Points("a", 0, [(1.0, 2.0)])], "plane", ("x", "y"), sums))
print(dot_plot([Dots("a", {"s": [0.2, 0.4]})], "dots", Axis("x", [Level(0.5, "coin")])))
print(rate_plot([1.0, 0.0], [True, False], [1, 0], "rates", 0))
print(class_plot([(0.0, 1.0), (1.0, 0.0)], [0, 1], ["a", "b"], "codes"))
"""


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", svg.COLOURS)
@pytest.mark.parametrize("page", ["#fdfdfc", "#14161a"])
def test_every_colour_stands_out_on_a_light_and_on_a_dark_page(colour: str, page: str) -> None:
    assert contrast(colour, page) >= 3


def test_plots_are_the_same_bytes_in_two_processes() -> None:
    root = Path(svg.__file__).parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, check=True, capture_output=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count(b"<svg") == 5


def test_a_plot_takes_its_text_colour_from_the_page() -> None:
    text = svg.curve_plot(LINES, "elbo", "epoch")
    assert "currentColor" in text
    assert svg.NEUTRAL not in text
    assert "#000000" not in text
    assert "#ffffff" not in text


def test_a_plot_carries_no_font_and_no_needless_digits() -> None:
    text = svg.curve_plot(LINES, "elbo", "epoch")
    assert "font-family" not in text
    assert not re.search(r' [xyd]="[^"]*\.\d{3}', text)


def test_a_plot_is_one_element_without_prolog_metadata_or_fixed_size() -> None:
    text = svg.curve_plot(LINES, "elbo", "epoch")
    root = ElementTree.fromstring(text)
    assert text.startswith("<svg ")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "<metadata" not in text
    assert "<style" not in text


def test_a_title_with_markup_is_text() -> None:
    root = ElementTree.fromstring(svg.curve_plot(LINES, 'a<b>"&', "<epoch>"))
    assert root.get("aria-label") == 'a<b>"&'


def test_two_plots_of_a_page_share_no_clip_path() -> None:
    ids = [
        {e.get("id") for e in ElementTree.fromstring(text).iter() if e.get("id")}
        for text in (svg.curve_plot(LINES, t, "epoch") for t in ("one", "two"))
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_values_that_are_not_finite_leave_a_hole() -> None:
    holes = [Curves("a", 0, [1, 2, 3], [[float("nan"), 2.0, float("inf")]])]
    nothing = [Curves("a", 0, [1, 2], [[float("nan"), float("nan")]])]
    for lines in (holes, nothing):
        ElementTree.fromstring(svg.curve_plot(lines, "elbo", "epoch"))


def test_drawing_leaves_the_global_settings_alone() -> None:
    before = dict(mpl.rcParams)
    svg.curve_plot(LINES, "elbo", "epoch")
    assert dict(mpl.rcParams) == before


def test_text_that_is_rotated_keeps_its_words():
    """Rotated black text ends its style with the font, without a semicolon."""

    def draw(axes: Axes) -> None:
        axes.text(0.5, 0.5, "tilted", rotation=30, color="black")
        axes.text(0.1, 0.1, "next")

    text = svg.render(draw, "title", (4, 3))
    assert ">tilted</text>" in text
    assert "font-family" not in text
