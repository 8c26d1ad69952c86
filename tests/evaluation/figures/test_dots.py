from xml.etree import ElementTree

import pytest

from evaluation.figures.dots import Axis, Dots, Level, dot_plot
from evaluation.figures.svg import COLOURS

ROWS = [Dots("a", {"one": [0.2, 0.4], "two": [0.9]}), Dots("b", {"one": [0.5]})]


def texts(svg: str) -> list[str]:
    """The texts of a plot."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def test_the_description_has_every_mean_and_the_plot_every_name() -> None:
    text = dot_plot(ROWS, "judges", Axis("accuracy", limits=(0, 1)))
    label = ElementTree.fromstring(text).get("aria-label")
    assert label == "judges. a one 0.3, two 0.9; b one 0.5"
    assert {"a", "b", "one", "two", "accuracy"} <= set(texts(text))


def test_a_row_without_a_value_is_left_out() -> None:
    text = dot_plot([*ROWS, Dots("c", {"one": []})], "judges", Axis("accuracy"))
    assert "c" not in texts(text)


def test_a_level_has_the_colour_of_its_series() -> None:
    plain = dot_plot(ROWS, "judges", Axis("x", [Level(0.5, "coin")]))
    own = dot_plot(ROWS, "judges", Axis("x", [Level(0.5, "coin", "two")]))
    assert "coin" in texts(plain)
    assert own.count(COLOURS[1]) == plain.count(COLOURS[1]) + 2  # and its legend


@pytest.mark.parametrize(("values", "lines"), [([0.2, 0.4], 1), ([0.2], 0)])
def test_from_two_seeds_on_there_is_an_interval(values: list[float], lines: int) -> None:
    text = dot_plot([Dots("a", {"one": values})], "judges", Axis("x"))
    assert text.count(f"stroke: {COLOURS[0]}; stroke-opacity") == lines


def test_a_logarithmic_axis_shows_the_small_and_the_whole() -> None:
    rows = [Dots("a", {"one": [0.002]}), Dots("copies", {"one": [1.0]})]
    found = texts(dot_plot(rows, "close", Axis("share", limits=(0, 1), log_from=0.01)))
    assert {"0", "0.01", "0.1", "1"} <= set(found)
