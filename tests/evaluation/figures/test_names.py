"""Names that a user chose stand in every plot as they are."""

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.figures import calibration, dots, latent, planes
from evaluation.figures import svg as figures
from evaluation.figures.names import literal, printable

BINS = [[0.1, 0.2, 30.0], [0.9, 0.8, 30.0]]


def _plane(name: str) -> str:
    points = [planes.Points(name, 0, [(1.0, 2.0)]), planes.Points(name, None, [(2.0, 3.0)])]
    return planes.plane_plot(points, name, (name, name), planes.Marks(shaded=(1.5, name)))


def _dots(name: str) -> str:
    rows = [dots.Dots(name, {name: [1.0, 2.0], "other": [2.0]})]
    axis = dots.Axis(name, [dots.Level(1.0, name)])
    return dots.dot_plot(rows, name, axis)


#: Each kind of plot with one name wherever a user's may stand, and how often it is shown.
PLOTS: dict[str, tuple[Callable[[str], str], int]] = {
    "curves": (
        lambda name: figures.curve_plot([figures.Curves(name, 0, [1, 2], [[1, 2]])], name, "step"),
        1,
    ),
    "dots": (_dots, 5),
    "plane": (_plane, 6),
    "reliability": (
        lambda name: calibration.reliability_plot([calibration.Reliability(name, 0, BINS)], name),
        2,
    ),
    "classes": (lambda name: latent.class_plot([(0.0, 1.0)], [0], [name], name), 2),
    "rates": (lambda name: latent.rate_plot([1.0], [True], [0], name, 0), 1),
}


def shown(svg: str) -> list[str]:
    """The texts of a plot, without the zero-width space before an underscore."""
    texts = [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]
    return [text.removeprefix("\N{ZERO WIDTH SPACE}") for text in texts]


@pytest.mark.parametrize("kind", PLOTS)
@pytest.mark.parametrize(
    "name",
    [
        "price_$5_to_$10",
        "a|b",
        "<b>&amp;",
        "_hidden",
        "none",
        r"$\frac$",
        r"a\$b$",
        "猫",
        "`x`",
        "\"'",
        "$",
    ],
)
def test_a_name_is_drawn_letter_by_letter(kind: str, name: str) -> None:
    draw, count = PLOTS[kind]
    svg = draw(name)
    assert shown(svg).count(name) == count
    label = ElementTree.fromstring(svg).get("aria-label") or ""
    assert label.startswith(name)


@pytest.mark.parametrize("kind", PLOTS)
def test_a_long_name_leaves_room_for_the_axes(kind: str) -> None:
    draw, count = PLOTS[kind]
    name = 255 * "猫"  # the longest name of a folder
    assert shown(draw(name)).count(name) == count


@given(st.text(min_size=1))
@settings(max_examples=30)
def test_any_name_can_be_drawn(name: str) -> None:
    text = printable(name)
    svg = latent.class_plot([(0.0, 1.0)], [0], [name], name)
    assert not text.strip() or text in shown(svg)


@given(st.text())
def test_a_literal_holds_the_printable_text(name: str) -> None:
    text = literal(name).removeprefix("\N{ZERO WIDTH SPACE}")
    assert text.replace(r"\$", "$") == printable(name)
    printable(name).encode("utf-8")
