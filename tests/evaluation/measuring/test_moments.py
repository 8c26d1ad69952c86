import math
from pathlib import Path
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
    frechet_from_moments,
    frechet_parts,
    load_statistics,
    total_variance,
)


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(frechet_parts(x, y))


def published(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance as a statistics file has them."""
    return x.mean(0), covariance(x)


def frechet_of_published(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(frechet_from_moments(*published(x), *published(y)))


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
    # The distance sees the same factor.
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
    # Sums of squares have lost all of them at 1e7 deviations.
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


def test_published_moments_have_the_distance_of_their_features(rng) -> None:
    x, y = normal(rng, 300, 20) @ normal(rng, 20, 20), 2 * normal(rng, 400, 20) + 1
    parts = frechet_from_moments(*published(x), *published(y))
    assert parts == pytest.approx(frechet_parts(x, y), rel=1e-10)


def test_published_moments_of_scaled_dimensions_have_a_closed_form(rng) -> None:
    # Deviations over eight decades: to drop the small ones would cost 2e-3 here.
    s1 = torch.logspace(0, -8, 12, dtype=torch.float64)
    s2, mu = s1.flip(0), normal(rng, 1, 12)[0]
    zero = torch.zeros(12, dtype=torch.float64)
    mean_part, covariance_part = frechet_from_moments(zero, (s1**2).diag(), mu, (s2**2).diag())
    assert mean_part == pytest.approx(mu.square().sum().item(), rel=1e-12)
    assert covariance_part == pytest.approx((s1 - s2).square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("missing", [0, 1])
def test_published_moments_keep_a_direction_that_is_almost_missing(missing: int) -> None:
    gap, d = 1e-10, 2 + missing
    mean, unit = torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    nearly = torch.zeros(d, d, dtype=torch.float64)
    nearly[:2, :2] = torch.tensor([[1, 1 - gap], [1 - gap, 1]], dtype=torch.float64)
    # Its eigenvalues are 2 - gap, gap and 0: without the second the distance is 2e-5 larger.
    expected = (math.sqrt(2 - gap) - 1) ** 2 + (math.sqrt(gap) - 1) ** 2 + missing
    assert sum(frechet_from_moments(mean, nearly, mean, unit)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_copied_column_is_a_missing_direction_whatever_rounding_makes_of_it(seed: int) -> None:
    # The last pivot is rounding: in half of the cases a positive number, whose root is 1e-8.
    rng = torch.Generator().manual_seed(seed)
    x, y = normal(rng, 100, 8), normal(rng, 100, 8)
    x[:, 7] = x[:, :3].sum(1)
    tolerance = 1e-12 * total_variance(x)
    assert frechet_of_published(x, y) == pytest.approx(frechet(x, y), abs=tolerance)


def test_published_covariances_that_do_not_commute(rng) -> None:
    root, s1 = normal(rng, 10, 10), covariance(normal(rng, 500, 10) @ normal(rng, 10, 10))
    a = root @ root.T / 10 + 0.1 * torch.eye(10, dtype=torch.float64)
    change = a - torch.eye(10, dtype=torch.float64)
    zero = torch.zeros(10, dtype=torch.float64)
    value = sum(frechet_from_moments(zero, s1, zero, a @ s1 @ a))
    assert value == pytest.approx(torch.trace(change @ s1 @ change).item(), rel=1e-10)


@pytest.mark.parametrize("kind", ["fewer rows than columns", "constant columns", "copied columns"])
def test_singular_published_covariances_are_as_exact_as_features(rng, kind: str) -> None:
    n = 40 if kind == "fewer rows than columns" else 300
    x, y = normal(rng, n, 64) @ normal(rng, 64, 64), normal(rng, 300, 64) @ normal(rng, 64, 64)
    if kind == "constant columns":
        x[:, 10:30] = 4.0
    if kind == "copied columns":
        x[:, 30:60] = x[:, :30]
    # To keep the noise of the missing directions, or to add to the diagonal, costs 1e-8 and more.
    scale = total_variance(x)
    assert frechet_of_published(x, y) == pytest.approx(frechet(x, y), abs=1e-12 * scale)
    # Another order of the rows: another rounding of the same covariance.
    assert abs(frechet_of_published(x, x.flip(0))) <= 1e-12 * scale


def test_points_have_the_distance_of_their_means() -> None:
    zero = torch.zeros(3, 3)
    assert frechet_from_moments(torch.zeros(3), zero, torch.ones(3), zero) == (3.0, 0.0)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, 2.0], [2.0, 1.0]],
        [[1.0, 0.0], [0.0, -1.0]],
        [[0.0, 0.5], [0.5, 1.0]],
        [[1.0, 0.1], [0.2, 1.0]],
        [[1.0, math.nan], [math.nan, 1.0]],
    ],
)
def test_a_matrix_that_is_no_covariance_is_refused(matrix: list[list[float]]) -> None:
    mean, unit = torch.zeros(2), torch.eye(2)
    with pytest.raises(ValueError, match="no covariance"):
        frechet_from_moments(mean, unit, mean, torch.tensor(matrix))


@pytest.mark.parametrize("condition", [1e4, 1e8, 1e12])
@pytest.mark.parametrize("other", ["same", "turned", "reversed"])
def test_badly_conditioned_published_covariances_are_as_exact_as_features(
    rng, condition: float, other: str
) -> None:
    d = 48
    scales = torch.logspace(0, -math.log10(condition) / 2, d, dtype=torch.float64)
    turn, turn_2 = (torch.linalg.qr(normal(rng, d, d)).Q for _ in range(2))
    x = normal(rng, 500, d) * scales @ turn
    y = normal(rng, 400, d) * (scales.flip(0) if other == "reversed" else scales)
    y = y @ (turn_2 if other == "turned" else turn)
    tolerance = (1e-13 if condition < 1e10 else 1e-11) * (total_variance(x) + total_variance(y))
    assert frechet_of_published(x, y) == pytest.approx(frechet(x, y), abs=tolerance)


@pytest.mark.parametrize("far", [(0, 1), (1, 0)])
def test_a_published_mean_of_another_width_is_refused(far: tuple[int, int]) -> None:
    means = [torch.zeros(1 if short else 3) for short in far]
    with pytest.raises(ValueError, match=r"expected means \(d,\) and covariances \(d, d\)"):
        frechet_from_moments(means[0], torch.eye(3), means[1], torch.eye(3))


def test_singular_statistics_that_were_float32_once_cost_what_was_rounded_away(
    rng, tmp_path: Path
) -> None:
    x, y = normal(rng, 40, 64), normal(rng, 50, 64)
    for name, side in (("x", x), ("y", y)):
        mean, sigma = published(side)
        np.savez(tmp_path / f"{name}.npz", mu=mean.float().numpy(), sigma=sigma.float().numpy())
    first, second = (load_statistics(tmp_path / f"{name}.npz") for name in ("x", "y"))
    assert {tensor.dtype for tensor in (*first, *second)} == {torch.float64}
    # Variances of 6e-8 where there were none are deviations of 2e-4: no route knows better.
    value = sum(frechet_from_moments(*first, *second))
    assert value == pytest.approx(frechet(x, y), abs=1e-4 * total_variance(x))


def test_statistics_of_fid_tools_are_read_as_they_were_written(rng, tmp_path: Path) -> None:
    x = normal(rng, 50, 4)
    np.savez_compressed(tmp_path / "s.npz", mu=x.mean(0).numpy(), sigma=covariance(x).numpy())
    mean, sigma = load_statistics(tmp_path / "s.npz")
    assert torch.equal(mean, x.mean(0))
    assert torch.equal(sigma, covariance(x))


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"mu": np.zeros(2)}, "no array sigma, only mu"),
        ({"mu": np.zeros(2), "sigma": np.eye(3)}, r"mu has shape \(2,\) and sigma \(3, 3\)"),
        ({"mu": np.zeros((2, 1)), "sigma": np.eye(2)}, r"not \(d,\) and \(d, d\)"),
        ({"mu": np.array([0, np.nan]), "sigma": np.eye(2)}, "NaN or infinite"),
        ({"mu": np.zeros(2), "sigma": np.diag([1, np.inf])}, "NaN or infinite"),
        ({"mu": np.zeros(2), "sigma": np.array([[1, 0.5], [0.4, 1]])}, "sigma is not symmetric"),
        ({"mu": np.array(["a", "b"]), "sigma": np.eye(2)}, "could not convert"),
        ({"mu": np.array([None, 1]), "sigma": np.eye(2)}, "allow_pickle=False"),
    ],
)
def test_a_file_of_other_arrays_is_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, np.ndarray], problem: str
) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=problem) as refused:
        load_statistics(path)
    assert str(refused.value).startswith(f"{path}: no statistics (")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"mu,sigma\n1,2\n", "array"])
def test_a_file_that_is_no_archive_of_arrays_is_refused_in_one_line(
    tmp_path: Path, content: bytes | str
) -> None:
    path = tmp_path / "s.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="no statistics") as refused:
        load_statistics(path)
    assert "\n" not in str(refused.value)


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
