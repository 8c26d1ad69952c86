import math

import pytest
import torch

from evaluation.metrics.kid import kernel_distance


def normal(rng: torch.Generator, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def test_zeros_against_ones_is_seven() -> None:
    assert kernel_distance(torch.zeros(3, 4), torch.ones(3, 4)) == pytest.approx(7, abs=1e-12)


def test_a_shifted_gaussian_has_the_closed_form(rng) -> None:
    d, q = 64, 64 * 0.25
    expected = 3 * q / d + 3 * q**2 / d**2 + 3 * q / d**2 + (q**3 + 6 * q**2 + 6 * q) / d**3
    values = torch.tensor(
        [kernel_distance(normal(rng, 400, d), normal(rng, 400, d) + 0.5) for _ in range(40)]
    )
    error = 4 * values.std().item() / math.sqrt(40)
    assert values.mean().item() == pytest.approx(expected, abs=error)
    assert expected == pytest.approx(0.9711, abs=1e-4)


def test_a_set_against_itself_is_negative_and_not_zero(rng) -> None:
    x, n = 2 * normal(rng, 100, 5), 100
    kernel = (x @ x.T / 5 + 1) ** 3
    diagonal = kernel.diagonal().mean()
    rest = (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))
    expected = (-2 / n * (diagonal - rest)).item()
    assert expected < 0
    assert kernel_distance(x, x) == pytest.approx(expected, rel=1e-10)


def test_two_samples_of_one_gaussian_average_to_zero(rng) -> None:
    values = torch.tensor(
        [kernel_distance(normal(rng, 60, 8), normal(rng, 60, 8)) for _ in range(200)]
    )
    assert abs(values.mean().item()) < 4 * values.std().item() / math.sqrt(200)
    assert 0.35 < (values < 0).double().mean().item() < 0.65


def test_blocks_do_not_change_the_value(rng) -> None:
    x, y = normal(rng, 130, 6), normal(rng, 90, 6) + 1
    assert kernel_distance(x, y, block=7) == pytest.approx(kernel_distance(x, y), rel=1e-12)
