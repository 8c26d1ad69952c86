import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from evaluation.measuring import moments
from evaluation.measuring.moments import (
    Moments,
    covariance,
    frechet_floor,
    frechet_parts,
    total_variance,
)


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(frechet_parts(x, y))


def streamed(batches: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and root of features that come in batches."""
    stream = Moments(batches[0].shape[1])
    for batch in batches:
        stream.update(batch)
    return stream.mean_and_root()


def normal(rng: torch.Generator, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def whitened(rng: torch.Generator, n: int, d: int) -> torch.Tensor:
    """A sample whose mean is 0 and whose covariance is the identity, exactly."""
    x = normal(rng, n, d)
    q = torch.linalg.qr(x - x.mean(0)).Q
    return q * math.sqrt(n - 1)


def test_zeros_against_ones_is_the_number_of_dimensions() -> None:
    assert frechet(torch.zeros(3, 2048), torch.ones(3, 2048)) == pytest.approx(2048, abs=1e-9)


def test_a_shift_costs_its_squared_length_and_is_all_mean_part(rng) -> None:
    x, shift = normal(rng, 300, 16), normal(rng, 1, 16)
    mean_part, covariance_part = frechet_parts(x, x + shift)
    assert mean_part == pytest.approx(shift.square().sum().item(), rel=1e-10)
    assert covariance_part == pytest.approx(0, abs=1e-10)


def test_diagonal_scales_cost_the_squared_difference_of_the_deviations(rng) -> None:
    x, mu = whitened(rng, 400, 12), normal(rng, 1, 12)
    s1, s2 = (0.1 + 3 * torch.rand(12, generator=rng, dtype=torch.float64) for _ in range(2))
    expected = (mu.square().sum() + (s1 - s2).square().sum()).item()
    assert frechet(x * s1, x * s2 + mu) == pytest.approx(expected, rel=1e-10)


def test_covariances_that_do_not_commute(rng) -> None:
    # With S2 = A S1 A the optimal map is A, so the distance is tr((A - I) S1 (A - I)).
    x, root = normal(rng, 500, 10) @ normal(rng, 10, 10), normal(rng, 10, 10)
    a = root @ root.T / 10 + 0.1 * torch.eye(10, dtype=torch.float64)
    change = a - torch.eye(10, dtype=torch.float64)
    expected = torch.trace(change @ covariance(x) @ change).item()
    x = x - x.mean(0)
    assert frechet(x, x @ a) == pytest.approx(expected, rel=1e-10)


def test_two_point_sets(rng) -> None:
    u, v = normal(rng, 2, 7)
    expected = 2 * (u @ u + v @ v - 2 * (u @ v).abs()).item()
    assert frechet(torch.stack([u, -u]), torch.stack([v, -v])) == pytest.approx(expected, rel=1e-10)


def test_it_scales_with_the_square_of_the_features(rng) -> None:
    x, y = normal(rng, 200, 8), 2 * normal(rng, 300, 8) + 1
    assert frechet(3 * x, 3 * y) == pytest.approx(9 * frechet(x, y), rel=1e-10)


def test_it_ignores_translation_rotation_padding_order_and_sides(rng) -> None:
    x, y = 3 * normal(rng, 200, 16), 5 * normal(rng, 150, 16) + 2
    value = frechet(x, y)
    rotation = torch.linalg.qr(normal(rng, 16, 16)).Q
    zeros = [torch.zeros(len(side), 5, dtype=torch.float64) for side in (x, y)]
    order = torch.randperm(200, generator=rng)
    assert value > 50
    for same in (
        frechet(x + 10, y + 10),
        frechet(x @ rotation, y @ rotation),
        frechet(torch.cat([x, zeros[0]], 1), torch.cat([y, zeros[1]], 1)),
        frechet(x[order], y),
        frechet(y, x),
    ):
        assert same == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("kind", ["fewer rows than columns", "constant columns", "duplicates"])
def test_a_set_has_no_distance_to_itself_at_any_rank(rng, kind: str) -> None:
    x = normal(rng, 40, 64) if kind == "fewer rows than columns" else normal(rng, 200, 64)
    if kind == "constant columns":
        x[:, 10:30] = 4.0
    if kind == "duplicates":
        x[50:] = x[:50].repeat(3, 1)
    assert abs(frechet(x, x)) <= 1e-10 * total_variance(x)


def test_doubling_every_row_changes_the_covariance_as_ddof_1_says(rng) -> None:
    x, n = normal(rng, 50, 6), 50
    doubled = covariance(torch.cat([x, x]))
    torch.testing.assert_close(
        doubled, covariance(x) * 2 * (n - 1) / (2 * n - 1), rtol=1e-12, atol=1e-14
    )
    # The distance has the same factor.
    factor = (1 - math.sqrt(2 * (n - 1) / (2 * n - 1))) ** 2
    expected = factor * total_variance(x)
    assert frechet(x, torch.cat([x, x])) == pytest.approx(expected, rel=1e-9)


def test_the_floor_of_an_identity_covariance_has_a_closed_form() -> None:
    d, n, m = 20, 300, 500
    expected = d * (1 / n + 1 / m) + d * (d + 1) / 4 * (1 / (n - 1) + 1 / (m - 1))
    assert frechet_floor(torch.eye(d), n, m) == pytest.approx(expected, rel=1e-12)


def test_the_floor_is_the_mean_distance_of_two_samples_of_one_gaussian(rng) -> None:
    scales = torch.linspace(0.2, 2, 16, dtype=torch.float64)
    distances = torch.tensor(
        [frechet(normal(rng, 400, 16) * scales, normal(rng, 600, 16) * scales) for _ in range(60)]
    )
    floor = frechet_floor(torch.diag(scales**2), 400, 600)
    tolerance = 4 * distances.std().item() / math.sqrt(60) + 0.03 * floor
    assert distances.mean().item() == pytest.approx(floor, abs=tolerance)


def test_the_floor_accepts_a_singular_covariance() -> None:
    assert frechet_floor(torch.zeros(3, 3), 10, 10) == 0
    assert frechet_floor(torch.diag(torch.tensor([1.0, 0.0])), 10, 10) > 0


def test_a_single_row_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_parts(torch.zeros(1, 4), torch.zeros(5, 4))


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected features \(N, 4\), got \(3, 1\)"):
        Moments(4).update(torch.zeros(3, 1))


@pytest.mark.parametrize("size", [1, 7, 1000, 4096, 5000])
def test_the_split_into_batches_does_not_change_a_bit(rng, size: int) -> None:
    x = normal(rng, 9001, 5).float()
    mean, root = streamed([x])
    again = streamed([*x.split(size), torch.zeros(0, 5)])
    assert torch.equal(mean, again[0])
    assert torch.equal(root, again[1])


def test_a_stream_has_the_moments_of_all_of_its_rows(rng) -> None:
    x = normal(rng, 20_000, 6) @ normal(rng, 6, 6) + 3
    stream = Moments(6)
    for batch in x.split(777):
        stream.update(batch)
    mean, root = stream.mean_and_root()
    assert stream.count == 20_000
    assert root.shape == (6, 6)
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(root.T @ root, covariance(x), rtol=1e-12, atol=1e-12)


def test_a_stream_far_from_the_origin_keeps_its_digits(rng) -> None:
    # Sums of squares would lose all digits at a distance of 1e7 deviations.
    x, y = normal(rng, 10_000, 8), 1.5 * normal(rng, 10_000, 8)
    far = [(side * 2**20).round() / 2**20 for side in (x, y)]
    value = frechet(far[0], far[1])
    assert value > 1
    assert frechet(far[0] + 1e7, far[1] + 1e7) == pytest.approx(value, rel=1e-8)


def test_a_set_of_many_blocks_has_no_distance_to_itself_in_any_order(rng) -> None:
    x = normal(rng, 10_000, 16)
    x[:, 3:6] = x[:, :3]
    for other in (x, x[torch.randperm(len(x), generator=rng)]):
        assert abs(frechet(x, other)) <= 1e-10 * total_variance(x)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    rows=st.integers(2, 90),
    size=st.integers(1, 200),
    n=st.integers(2, 200),
    d=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_the_size_of_the_blocks_changes_no_more_than_rounding(
    rows: int, size: int, n: int, d: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = normal(rng, n, d) @ normal(rng, d, d) + 5
    mean, root = streamed([x])
    with mock.patch.object(moments, "_ROWS", rows):
        mean_again, root_again = streamed(list(x.split(size)))
    assert len(root_again) <= max(d, n)
    torch.testing.assert_close(mean_again, mean, rtol=1e-12, atol=1e-12)
    scale = total_variance(x)
    torch.testing.assert_close(root_again.T @ root_again, root.T @ root, rtol=0, atol=1e-13 * scale)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(
    log_n=st.floats(1, 12), log_m=st.floats(1, 12), log_d=st.floats(1, 7), seed=st.integers(0, 99)
)
def test_it_is_finite_everywhere_and_equals_the_matrix_square_root_at_full_rank(
    log_n: float, log_m: float, log_d: float, seed: int
) -> None:
    n, m, d = int(2**log_n), int(2**log_m), int(2**log_d)
    rng = torch.Generator().manual_seed(seed)
    x, y = normal(rng, n, d), normal(rng, m, d) @ normal(rng, d, d) / math.sqrt(d) + 0.1
    value = frechet(x, y)
    assert math.isfinite(value)
    assert value >= -1e-10 * (total_variance(x) + total_variance(y))
    if min(n, m) > 4 * d:
        s1, s2 = covariance(x).numpy(), covariance(y).numpy()
        shift = (x.mean(0) - y.mean(0)).square().sum().item()
        expected = shift + np.trace(s1 + s2) - 2 * np.trace(sqrtm(s1 @ s2)).real
        assert value == pytest.approx(expected, rel=1e-6)
