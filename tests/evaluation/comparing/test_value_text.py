"""The printer of values."""

import pytest

from evaluation.comparing import value_text
from evaluation.comparing.value_text import MINUS, MISSING


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (-0.001, 2, "0.00"),
        (-1.5, 1, f"{MINUS}1.5"),
        (1234.5, 1, "1,234.5"),
        (None, 3, MISSING),
        (-1234567.0, 0, f"{MINUS}1,234,567"),
    ],
)
def test_numbers_are_written_for_people(value, places, text) -> None:
    assert value_text.number(value, places) == text


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([8.67, 14.65], 2),
        ([0.0102, None], 4),
        ([2.3, 0.0045], 3),
        ([-101.5], 1),
        ([0.5, 1.0], 3),
        ([25000.0], 0),
        ([1e-20, 5.0], 4),
        ([0.0, None], 2),
        ([], 2),
    ],
)
def test_a_column_has_enough_decimals_for_its_values(values, places) -> None:
    assert value_text.decimals(values) == places


@pytest.mark.parametrize(
    ("value", "text"), [(842, "842"), (12_345, "12.3 k"), (999_999, "1 M"), (4_560_000, "4.56 M")]
)
def test_counts_have_three_digits(value, text) -> None:
    assert value_text.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "+0.50"), (-0.5, f"{MINUS}0.50"), (0.001, "0.00"), (-0.001, "0.00"), (0.0, "0.00")],
)
def test_a_difference_has_its_sign_but_zero_has_none(value, text) -> None:
    assert value_text.signed(value, 2) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.3149, "3.315"),
        (-20.61, f"{MINUS}20.61"),
        (1e-5, "1e-05"),
        (-1e-5, f"{MINUS}1e-05"),
        (None, MISSING),
    ],
)
def test_a_single_value_has_four_digits(value, text) -> None:
    assert value_text.rounded(value) == text


def test_spreads_and_intervals() -> None:
    assert value_text.mean_and_sd(3.414, 0.12, 2) == "3.41 ± 0.12"
    assert value_text.mean_and_sd(3.414, None, 2) == "3.41"
    assert value_text.mean_and_sd(None, None, 2) == MISSING
    assert value_text.rounded_mean_and_sd(3.4141, 0.1234) == "3.414 ± 0.12"
    assert value_text.rounded_mean_and_sd(3.4141, None) == "3.414"
    assert value_text.interval((-1.0, 2.0), 1) == f"[{MINUS}1.0, 2.0]"
    assert value_text.interval(None, 1) == ""
