import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from evaluation import figures
from evaluation.figures import Curves, Points

LINES = [Curves("a", 0, [1, 2, 3], [[3.0, 2.0, 1.0], [3.5, 2.5, 1.5]])]
MODELS = [Points("a", 0, [(1.0, 2.0), (1.2, 2.1)]), Points("b", 1, [(2.0, 1.0)])]
SCRIPT = """
from evaluation.figures import *
print(curve_plot([Curves("a", 0, [1, 2, 3], [[3.0, 2.0, 1.0]])], "elbo", "epoch"))
print(scatter_plot([Points("a", 0, [(1.0, 2.0)])], "plane", ("x", "y"), equal_sums=True))
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


@pytest.mark.parametrize("colour", figures.COLOURS)
@pytest.mark.parametrize("page", ["#fdfdfc", "#14161a"])
def test_every_colour_stands_out_on_a_light_and_on_a_dark_page(colour: str, page: str) -> None:
    assert contrast(colour, page) >= 3


def test_plots_are_the_same_bytes_in_two_processes() -> None:
    root = Path(figures.__file__).parent.parent
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, check=True, capture_output=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count(b"<svg") == 4


def test_a_plot_takes_its_text_colour_from_the_page() -> None:
    text = figures.curve_plot(LINES, "elbo", "epoch")
    assert "currentColor" in text
    assert figures.NEUTRAL not in text
    assert "#000000" not in text
    assert "#ffffff" not in text


def numbers(root: ElementTree.Element) -> list[str]:
    """The texts of a plot."""
    return [e.text or "" for e in root.iter() if e.tag.endswith("text")]


def bars(text: str) -> list[str]:
    """The fills of the bars of a plot, from left to right."""
    found: list[str] = re.findall(r'style="fill: ([^;"]+); stroke: #3b7dd8', text)
    return found


def test_the_bar_of_an_idle_dimension_is_hollow_and_crossed() -> None:
    text = figures.rate_plot([2.0, 0.5, 0.001], [True, True, False], [4, 0, 2], "vae", 0)
    assert bars(text) == [figures.COLOURS[0], figures.COLOURS[0], "none"]
    without = figures.rate_plot([2.0, 0.5, 0.001], [True, True, True], [4, 0, 2], "vae", 0)
    assert text.count("<use") == without.count("<use") + 1
    assert numbers(ElementTree.fromstring(text))[:3] == ["4", "0", "2"]


def test_a_collapsed_model_has_no_tall_bar() -> None:
    root = ElementTree.fromstring(figures.rate_plot([1e-4] * 3, [False] * 3, [0, 1, 2], "vae", 0))
    assert "0.10" in numbers(root)


def test_many_bars_are_not_numbered() -> None:
    for num, shown in ((figures.MAX_NUMBERED, True), (figures.MAX_NUMBERED + 1, False)):
        dimensions = list(range(100, 100 + num))
        text = figures.rate_plot([1.0] * num, [True] * num, dimensions, "vae", 0)
        assert ("110" in numbers(ElementTree.fromstring(text))) == shown


CODES = [(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]


def test_points_have_the_colour_and_the_legend_of_their_class() -> None:
    text = figures.class_plot(CODES, [1, 0, 1], ["cat", "dog"], "codes")
    assert text.count(f"fill: {figures.COLOURS[1]}") > text.count(f"fill: {figures.COLOURS[0]}") > 0
    assert {"cat", "dog"} <= set(numbers(ElementTree.fromstring(text)))


def test_points_without_classes_and_of_too_many_have_no_legend() -> None:
    for labels, names in ((None, []), ([0, 1, 2], [f"class {i}" for i in range(30)])):
        texts = numbers(ElementTree.fromstring(figures.class_plot(CODES, labels, names, "codes")))
        assert not [text for text in texts if text.startswith("class")]


def test_a_plot_carries_no_font_and_no_needless_digits() -> None:
    text = figures.curve_plot(LINES, "elbo", "epoch")
    assert "font-family" not in text
    assert not re.search(r' [xyd]="[^"]*\.\d{3}', text)


def test_a_plot_is_one_element_without_prolog_metadata_or_fixed_size() -> None:
    text = figures.curve_plot(LINES, "elbo", "epoch")
    root = ElementTree.fromstring(text)
    assert text.startswith("<svg ")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "<metadata" not in text
    assert "<style" not in text


def test_a_title_with_markup_is_text() -> None:
    root = ElementTree.fromstring(figures.curve_plot(LINES, 'a<b>"&', "<epoch>"))
    assert root.get("aria-label") == 'a<b>"&'


def test_two_plots_of_a_page_share_no_clip_path() -> None:
    ids = [
        {e.get("id") for e in ElementTree.fromstring(text).iter() if e.get("id")}
        for text in (figures.curve_plot(LINES, t, "epoch") for t in ("one", "two"))
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_every_model_is_named_in_the_plane_at_its_own_height() -> None:
    crowd = [Points(f"m{i}", i, [(1.0, 1.0 + 1e-4 * i)]) for i in range(4)]
    root = ElementTree.fromstring(figures.scatter_plot(crowd, "plane", ("x", "y")))
    texts = {e.text: e for e in root.iter() if e.tag.endswith("text")}
    heights = []
    for i in range(4):
        place = texts[f"m{i}"].get("transform") or texts[f"m{i}"].get("y")
        heights.append(place)
    assert len(set(heights)) == 4


def test_the_floor_lies_inside_the_plane() -> None:
    text = figures.scatter_plot(MODELS, "plane", ("x", "y"), floor=0.2)
    assert "held-out real images" in text


def test_costs_far_apart_get_a_logarithmic_axis() -> None:
    far = [Points("a", 0, [(1e4, 1.0)]), Points("b", 1, [(1e7, 2.0)])]
    text = figures.scatter_plot(far, "plane", ("x", "y"))
    assert "1M" in text
    assert "100k" in text


def test_values_that_are_not_finite_leave_a_hole() -> None:
    holes = [Curves("a", 0, [1, 2, 3], [[float("nan"), 2.0, float("inf")]])]
    nothing = [Curves("a", 0, [1, 2], [[float("nan"), float("nan")]])]
    for lines in (holes, nothing):
        ElementTree.fromstring(figures.curve_plot(lines, "elbo", "epoch"))


def test_drawing_leaves_the_global_settings_alone() -> None:
    before = dict(mpl.rcParams)
    figures.curve_plot(LINES, "elbo", "epoch")
    assert dict(mpl.rcParams) == before


def test_rates_far_apart_keep_the_rate_distortion_plane_linear():
    points = [
        figures.Points("collapsed", 0, [(0.02, 200.0)]),
        figures.Points("vae", 1, [(25.0, 80.0)]),
    ]
    picture = figures.scatter_plot(points, "plane", ("rate", "distortion"), equal_sums=True)
    assert "collapsed" in picture
