import math
from statistics import fmean

import pytest
import torch
from torch import Tensor

from evaluation.metrics.mind import sliced_distance

# Not that of the data: directions that are rows of the data are no random ones.
SEED = 7


def normal(rng: torch.Generator, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def test_a_shift_costs_three_times_its_squared_length(rng) -> None:
    x, shift = normal(rng, 200, 64), normal(rng, 1, 64)
    expected = 3 * shift.square().sum().item()
    # Over 1,000 directions the mean of d (u.mu)^2 varies by sqrt(2 / 1000), 4.5 %.
    assert sliced_distance(x, x + shift, SEED) == pytest.approx(expected, rel=0.1)


def test_in_one_dimension_it_is_the_distance_of_the_sorted_values(rng) -> None:
    x, y = normal(rng, 50, 1), 2 * normal(rng, 50, 1) + 1
    sorted_apart = x.flatten().sort().values - y.flatten().sort().values
    expected = 3 * sorted_apart.square().mean().item()
    assert sliced_distance(x, y, SEED) == pytest.approx(expected, rel=1e-12)


def test_a_wider_gaussian_has_the_closed_form(rng) -> None:
    # Every projection of N(0, 4 I) is N(0, 4), at a squared distance of (2 - 1)^2 from N(0, 1).
    x, y = normal(rng, 4000, 5), 2 * normal(rng, 4000, 5)
    assert sliced_distance(x, y, SEED) == pytest.approx(3 * 5, rel=0.05)


def test_it_sees_what_moments_do_not(rng) -> None:
    # Both of mean 0 and variance 1: E|x| = sqrt(2 / pi), so W_2^2 = 2 - 2 sqrt(2 / pi).
    x = normal(rng, 4000, 1)
    y = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(2000)[:, None]
    expected = 3 * (2 - 2 * math.sqrt(2 / math.pi))
    assert sliced_distance(x, y, SEED) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("n", "expected"), [(500, 3.73), (1000, 1.98)])
def test_its_bias_falls_with_n(rng, n: int, expected: float) -> None:
    values = [
        sliced_distance(1.25 * normal(rng, n, 64), 1.25 * normal(rng, n, 64), SEED)
        for _ in range(4)
    ]
    assert fmean(values) == pytest.approx(expected, rel=0.05)


def test_a_set_has_no_distance_to_itself_in_any_order(rng) -> None:
    x, y = normal(rng, 100, 8), normal(rng, 100, 8) + 1
    order = torch.randperm(100, generator=rng)
    assert sliced_distance(x, x, SEED) == 0
    assert sliced_distance(x, x[order], SEED) == pytest.approx(0, abs=1e-20)
    assert sliced_distance(x, y[order], SEED) == pytest.approx(
        sliced_distance(x, y, SEED), rel=1e-10
    )


def test_it_scales_with_the_square_of_the_features(rng) -> None:
    x, y = normal(rng, 100, 8), normal(rng, 100, 8) + 1
    assert sliced_distance(3 * x, 3 * y, SEED) == pytest.approx(
        9 * sliced_distance(x, y, SEED), rel=1e-10
    )


def test_its_directions_come_from_the_seed(rng) -> None:
    x, y = normal(rng, 60, 4), normal(rng, 60, 4)
    assert sliced_distance(x, y, 1) == sliced_distance(x, y, 1)
    assert sliced_distance(x, y, 1) != sliced_distance(x, y, 2)


def test_of_the_larger_set_as_many_rows_are_used(rng) -> None:
    x, y = normal(rng, 2000, 4), normal(rng, 4000, 4) + 1
    value = sliced_distance(x, y, SEED)
    assert value == pytest.approx(sliced_distance(y, x, SEED), rel=0.05)
    assert value == pytest.approx(3 * 4, rel=0.1)
    assert value == sliced_distance(x, y, SEED)
