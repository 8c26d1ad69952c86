import re
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluation.figures import label_placement
from evaluation.figures.planes import Marks, Points, frontier, plane_plot
from evaluation.figures.svg import COLOURS

MODELS = [Points("a", 0, [(1.0, 2.0), (1.2, 2.1)]), Points("b", 1, [(2.0, 1.0)])]


def texts(svg: str) -> list[str]:
    """The texts of a plot."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


def label(svg: str) -> str:
    return ElementTree.fromstring(svg).get("aria-label") or ""


@pytest.mark.parametrize(
    ("better", "expected"),
    [("lower", [(1, 5), (2, 3), (4, 1)]), ("higher", [(1, 6), (3, 7)])],
)
def test_the_frontier_has_the_points_that_none_beats_in_both(
    better: str, expected: list[tuple[float, float]]
) -> None:
    means = [(4, 1), (2, 3), (3, 7), (1, 5), (2, 4), (1, 6), (5, 1)]
    assert frontier(means, better) == expected


def test_the_frontier_has_no_point_that_another_beats() -> None:
    points = [tuple(pair) for pair in np.random.default_rng(0).random((50, 2)).tolist()]
    best = frontier(points, "lower")
    for x, y in points:
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert ((x, y) in best) == (not beaten)


def test_the_description_has_every_mean_and_the_plane_every_name() -> None:
    text = plane_plot(MODELS, "plane", ("x", "y"))
    assert {"a", "b"} <= set(texts(text))
    assert label(text) == "plane. x, y: a 1.1, 2.05; b 2, 1"


def test_a_model_without_x_stands_in_the_strip_beside() -> None:
    without = Points("gan", 2, [(float("nan"), 1.5)])
    text = plane_plot([*MODELS, without], "plane", ("x", "y"), Marks(strip="no x"))
    assert {"gan", "no x"} <= set(texts(text))
    assert label(text).endswith("gan 1.5")
    assert "no x" not in texts(plane_plot(MODELS, "plane", ("x", "y"), Marks(strip="no x")))


def test_lines_of_equal_sums_carry_the_elbo() -> None:
    points = [Points("a", 0, [(20.0, 80.0)]), Points("b", 1, [(10.0, 100.0)])]
    found = texts(plane_plot(points, "plane", ("rate", "distortion"), Marks(equal_sums=True)))
    assert any(text.startswith("ELBO \N{MINUS SIGN}") and text.endswith("nats") for text in found)


def test_the_shaded_corner_is_visible_without_models_in_it() -> None:
    text = plane_plot(MODELS, "plane", ("x", "y"), Marks(shaded=(-3.0, "copies")))
    assert "copies" in texts(text)


def test_a_reference_row_is_hollow_and_has_no_colour() -> None:
    text = plane_plot([Points("blur", None, [(1.0, 1.0)])], "plane", ("x", "y"))
    assert "fill: none" in text or 'fill="none"' in text
    assert not any(colour in text for colour in COLOURS)


def test_the_area_of_a_mark_grows_fivefold_from_the_least_cost_to_the_greatest() -> None:
    def reach(weight: float) -> float:
        text = plane_plot([Points("a", 1, [(1.0, 1.0)], weight)], "p", ("x", "y"))
        shapes = re.findall(r'<path id="[^"]+" d="([^"]+)"/>', text)
        return max(float(number) for shape in shapes for number in re.findall(r"[\d.]+", shape))

    assert (reach(1.0) / reach(0.0)) ** 2 == pytest.approx(5, rel=0.02)


def test_names_of_a_crowd_lie_apart() -> None:
    points = np.array([[100.0, 100.0 + i] for i in range(6)])
    names = [f"model_{i}" for i in range(6)]
    found = label_placement.places(points, names, 8.0, 8.0)
    boxes = []
    for (x, y), (aside, shift, to_left), name in zip(points, found, names, strict=True):
        width = label_placement.LETTER * 8 * len(name)
        left = x + aside - (width if to_left else 0)
        boxes.append((left, y + shift - 4, left + width, y + shift + 4))
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            wide = min(one[2], other[2]) - max(one[0], other[0])
            high = min(one[3], other[3]) - max(one[1], other[1])
            assert min(wide, high) <= 0.5


def test_a_lone_name_stands_beside_its_mark() -> None:
    assert label_placement.places(np.array([[5.0, 5.0]]), ["a"], 8.0, 7.0) == [(7.0, 0.0, False)]


def test_the_floor_lies_inside_the_plane() -> None:
    text = plane_plot(MODELS, "plane", ("x", "y"), Marks(floor=0.2))
    assert "held-out real images" in text


def test_costs_far_apart_get_a_logarithmic_axis() -> None:
    far = [Points("a", 0, [(1e4, 1.0)]), Points("b", 1, [(1e7, 2.0)])]
    text = plane_plot(far, "plane", ("x", "y"))
    assert {"1M", "100k"} <= set(texts(text))


def test_rates_far_apart_keep_the_rate_distortion_plane_linear() -> None:
    points = [Points("collapsed", 0, [(0.02, 200.0)]), Points("vae", 1, [(25.0, 80.0)])]
    found = texts(plane_plot(points, "plane", ("rate", "distortion"), Marks(equal_sums=True)))
    assert {"collapsed", "0", "10", "20"} <= set(found)
