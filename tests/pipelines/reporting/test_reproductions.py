"""Comparisons with published values, seed by seed, and the verdict on their mean."""

import pytest

from pipelines.reporting import reproductions

RESULTS = {
    model: {"0": {"values": {"x": x, "y": y}}}
    for model, x, y in (("a", 0.0, 4.0), ("b", 2.0, 0.0), ("c", 1.0, 1.0), ("d", 5.0, 1.0))
}


@pytest.mark.parametrize(
    ("form", "model", "against", "expected"),
    [
        ("value", "a", None, 4.0),
        ("difference", "c", {"model": "a", "value": "y"}, -3.0),
        ("ratio", "c", {"model": "a", "value": "y"}, 0.25),
        ("difference", "c", {"models": ["b", "a"], "value": "y", "equal": "x"}, -1.0),
        ("difference", "d", {"models": ["a", "b"], "value": "y", "equal": "x"}, None),
        ("difference", "c", {"model": "a", "value": "z"}, None),
    ],
)
def test_values_are_compared_seed_by_seed(form, model, against, expected):
    claim = {"form": form, "of": {"model": model, "value": "y"}, "against": against}
    assert reproductions.compared(claim, RESULTS) == {"0": expected}


@pytest.mark.parametrize(
    ("low", "high", "values", "expected"),
    [
        (None, 1.0, {"0": 0.5, "1": 1.4}, "agrees"),
        (None, 1.0, {"0": 0.5, "1": 1.6}, "does not agree"),
        (1.0, None, {"0": 0.5}, "does not agree"),
        (0.0, 1.0, {"0": 0.5, "1": None}, "agrees"),
        (0.0, 1.0, {"0": None}, "not comparable"),
    ],
)
def test_the_verdict_is_about_the_mean(low, high, values, expected):
    assert reproductions.verdict({"low": low, "high": high}, values) == expected
