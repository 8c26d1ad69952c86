import re
from xml.etree import ElementTree

from evaluation.figures import latent
from evaluation.figures.svg import COLOURS


def texts(svg: str) -> list[str]:
    """The texts of a plot."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def bars(text: str) -> list[str]:
    """The fills of the bars of a plot, from left to right."""
    found: list[str] = re.findall(r'style="fill: ([^;"]+); stroke: #3b7dd8', text)
    return found


def test_the_bar_of_an_idle_dimension_is_hollow_and_crossed() -> None:
    text = latent.rate_plot([2.0, 0.5, 0.001], [True, True, False], [4, 0, 2], "vae", 0)
    assert bars(text) == [COLOURS[0], COLOURS[0], "none"]
    without = latent.rate_plot([2.0, 0.5, 0.001], [True, True, True], [4, 0, 2], "vae", 0)
    assert text.count("<use") == without.count("<use") + 1
    assert texts(text)[:3] == ["4", "0", "2"]


def test_a_collapsed_model_has_no_tall_bar() -> None:
    text = latent.rate_plot([1e-4] * 3, [False] * 3, [0, 1, 2], "vae", 0)
    assert "0.10" in texts(text)


def test_many_bars_are_not_numbered() -> None:
    for num, shown in (
        (latent.MAX_NUMBERED, True),
        (latent.MAX_NUMBERED + 1, False),
    ):
        dimensions = list(range(100, 100 + num))
        text = latent.rate_plot([1.0] * num, [True] * num, dimensions, "vae", 0)
        assert ("110" in texts(text)) == shown


CODES = [(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]


def test_points_have_the_colour_and_the_legend_of_their_class() -> None:
    text = latent.class_plot(CODES, [1, 0, 1], ["cat", "dog"], "codes")
    assert text.count(f"fill: {COLOURS[1]}") > text.count(f"fill: {COLOURS[0]}") > 0
    assert {"cat", "dog"} <= set(texts(text))


def test_points_without_classes_and_of_too_many_have_no_legend() -> None:
    for labels, names in ((None, []), ([0, 1, 2], [f"class {i}" for i in range(30)])):
        found = texts(latent.class_plot(CODES, labels, names, "codes"))
        assert not [text for text in found if text.startswith("class")]
