import math

import pytest
import torch

from evaluation.metrics import kid
from evaluation.metrics.kid import kernel_distance, permutation_p_value


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


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_p_value_counts_the_distances_of_sets_that_are_dealt_at_random(rng, seed: int) -> None:
    x, y = normal(rng, 5, 3), 1.3 * normal(rng, 14, 3) + 0.1 * seed
    pooled, dealer = torch.cat([x, y]), torch.Generator().manual_seed(seed)
    # A row's label is its number in the permutation, so its place is the inverse one.
    dealt = [pooled[torch.randperm(19, generator=dealer).argsort()] for _ in range(200)]
    as_large = sum(kernel_distance(d[:5], d[5:]) >= kernel_distance(x, y) for d in dealt)
    assert permutation_p_value(x, y, seed, 200) == pytest.approx((1 + as_large) / 201, rel=1e-12)
    assert 10 < as_large < 190


def test_the_p_value_is_uniform_for_samples_of_one_distribution() -> None:
    values = []
    for seed in range(200):
        rng = torch.Generator().manual_seed(seed)
        values.append(permutation_p_value(normal(rng, 30, 4), normal(rng, 30, 4), seed, 99))
    for level in (0.05, 0.25, 0.5, 0.75):
        share = sum(value <= level for value in values) / 200
        assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 200))


def test_the_p_value_of_what_differs_is_the_smallest_there_is(rng) -> None:
    assert permutation_p_value(normal(rng, 50, 4), normal(rng, 50, 4) + 1, 0, 199) == 1 / 200


def test_equal_images_have_the_largest_p_value() -> None:
    same = 0.1 + torch.ones(20, 3)
    assert permutation_p_value(same, same, 0) == 1


def test_of_large_sets_a_part_is_tested(make_context, model, monkeypatch) -> None:
    whole = kid.METRIC.compute(make_context(model))[kid.NAME]
    assert whole.params["p_value_images"] == 40
    monkeypatch.setattr(kid, "TESTED", 3)
    part = kid.METRIC.compute(make_context(model))[kid.NAME]
    assert part.params["p_value_images"] == 3
    # Six images have but 20 ways to be dealt.
    assert part.params["p_value"] > 0.02 > whole.params["p_value"]
    assert part.value == whole.value
