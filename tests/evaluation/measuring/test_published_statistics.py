"""Published statistics: distances against those of the features, and refusal of other files."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.measuring.moments import covariance, frechet_parts, total_variance
from evaluation.measuring.published_statistics import frechet_from_moments, load_statistics


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(frechet_parts(x, y))


def published(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance as a statistics file has them."""
    return x.mean(0), covariance(x)


def frechet_of_published(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(frechet_from_moments(*published(x), *published(y)))


def normal(rng: torch.Generator, n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def test_published_moments_have_the_distance_of_their_features(rng) -> None:
    x, y = normal(rng, 300, 20) @ normal(rng, 20, 20), 2 * normal(rng, 400, 20) + 1
    parts = frechet_from_moments(*published(x), *published(y))
    assert parts == pytest.approx(frechet_parts(x, y), rel=1e-10)


def test_published_moments_of_scaled_dimensions_have_a_closed_form(rng) -> None:
    # Deviations over eight decades: without the small ones the error would be 2e-3.
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
def test_a_copied_column_is_a_missing_direction_despite_rounding(seed: int) -> None:
    # The last pivot is a rounding error: positive, with a root of 1e-8, in half of the cases.
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
    # Keeping the noise of the missing directions, or regularising, has errors of 1e-8 and more.
    scale = total_variance(x)
    assert frechet_of_published(x, y) == pytest.approx(frechet(x, y), abs=1e-12 * scale)
    # Another order of the rows rounds the same covariance differently.
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


@pytest.mark.parametrize("is_short", [(0, 1), (1, 0)])
def test_a_published_mean_of_another_width_is_refused(is_short: tuple[int, int]) -> None:
    means = [torch.zeros(1 if short else 3) for short in is_short]
    with pytest.raises(ValueError, match=r"expected means \(d,\) and covariances \(d, d\)"):
        frechet_from_moments(means[0], torch.eye(3), means[1], torch.eye(3))


def test_singular_statistics_in_float32_have_an_error_of_their_rounding(
    rng, tmp_path: Path
) -> None:
    x, y = normal(rng, 40, 64), normal(rng, 50, 64)
    for name, side in (("x", x), ("y", y)):
        mean, sigma = published(side)
        np.savez(tmp_path / f"{name}.npz", mu=mean.float().numpy(), sigma=sigma.float().numpy())
    first, second = (load_statistics(tmp_path / f"{name}.npz") for name in ("x", "y"))
    assert {tensor.dtype for tensor in (*first, *second)} == {torch.float64}
    # Rounded variances of 6e-8 instead of 0 are deviations of 2e-4: no method can recover them.
    value = sum(frechet_from_moments(*first, *second))
    assert value == pytest.approx(frechet(x, y), abs=1e-4 * total_variance(x))


def test_statistics_of_fid_tools_are_read_exactly(rng, tmp_path: Path) -> None:
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
