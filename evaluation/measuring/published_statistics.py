"""Frechet distance from published statistics: a mean and a covariance instead of features."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Share of a variance below which it counts as zero once the other features are known. The
# covariance of n linearly dependent features leaves up to 1.5 sqrt(n) times the machine epsilon of
# it (measured): 7e-14 at n = 50,000.
_ZERO_SHARE = 1e-12

# Largest deviation of the square of a root from its correlation matrix. Float64 statistics deviate
# by at most 1e-14, statistics that were stored as float32 by 1e-5, and a matrix that is no
# covariance by its negative part.
_ROOT_TOLERANCE = 1e-3


def frechet_from_moments(
    mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor
) -> tuple[float, float]:
    """`moments.frechet_parts` from means (d,) and covariances (d, d).

    Singular covariances are allowed and not regularised. A direction counts as missing if less than
    1e-12 of a feature's variance is left, because rounding can leave that much.

    Returns:
        Mean part and covariance part; their sum is the distance.

    Raises:
        ValueError: The shapes differ, or a matrix is no covariance: it is asymmetric or has a
            negative eigenvalue.
    """
    mean_1, s1, mean_2, s2 = (
        tensor.to("cpu", torch.float64) for tensor in (mean_1, covariance_1, mean_2, covariance_2)
    )
    d = len(mean_1)
    if not (mean_1.shape == mean_2.shape == (d,) and s1.shape == s2.shape == (d, d)):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (mean_1, s1, mean_2, s2))
        raise ValueError(f"expected means (d,) and covariances (d, d) of one d, got {shapes}")
    if not (_is_symmetric(s1) and _is_symmetric(s2)):
        raise ValueError("a matrix is no covariance: it is not symmetric")
    eigenvalues = _eigenvalues_of_product(s1, s2)
    if eigenvalues is not None:
        cross = eigenvalues.clamp(min=0).sqrt().sum()
    else:
        cross = torch.linalg.svdvals(_root_of(s1) @ _root_of(s2).T).sum()
    covariance_part = s1.trace() + s2.trace() - 2 * cross
    return (mean_1 - mean_2).square().sum().item(), covariance_part.item()


def load_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Reads statistics of a feature set in the format of FID tools: an .npz with mu and sigma.

    Returns:
        Mean (d,) and covariance (d, d), float64.

    Raises:
        ValueError: The file holds no such statistics; the message gives the reason in one line.
    """
    try:
        return _mean_and_covariance(path)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no statistics ({str(error).splitlines()[0]})") from None


def _mean_and_covariance(path: Path) -> tuple[Tensor, Tensor]:
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("an array, not an .npz")
        missing = [key for key in ("mu", "sigma") if key not in content]
        if missing:
            raise ValueError(f"no array {' or '.join(missing)}, only {', '.join(content)}")
        mean, sigma = (
            torch.from_numpy(np.asarray(content[key], np.float64)) for key in ("mu", "sigma")
        )
    if mean.ndim != 1 or not len(mean) or sigma.shape != (len(mean), len(mean)):
        shapes = f"mu has shape {tuple(mean.shape)} and sigma {tuple(sigma.shape)}"
        raise ValueError(f"{shapes}, not (d,) and (d, d)")
    if not (mean.isfinite().all() and sigma.isfinite().all()):
        raise ValueError("a number is NaN or infinite")
    if not _is_symmetric(sigma):
        raise ValueError("sigma is not symmetric")
    return mean, sigma


def _is_symmetric(s: Tensor) -> bool:
    # A covariance summed in float32 is symmetric to 1e-7.
    return bool((s - s.T).abs().max() <= 1e-6 * s.abs().max())


def _eigenvalues_of_product(s1: Tensor, s2: Tensor) -> Tensor | None:
    """The eigenvalues (d,) of S1 S2, equal to those of L^T S2 L; None if a matrix is singular.

    S1 = L L^T with pivoting, the largest variance first. The diagonal of L^T S2 L then decreases,
    and the reduction to tridiagonal form keeps its small eigenvalues; that of S1 S2 loses them. The
    measured error of the distance is 1e-13 of the variance at condition number 1e8 and 1e-11 at
    1e12, against 1e-10 and 1e-6 with the eigenvalues of the product.
    """
    from scipy.linalg import lapack  # noqa: PLC0415  (slow to import)

    factor, order, definite = _pivoted(s1)
    if not (definite and _pivoted(s2)[2]):
        return None
    product, _ = lapack.dsygst(s2.numpy()[np.ix_(order, order)], factor, itype=2, lower=1)
    return torch.linalg.eigvalsh(torch.from_numpy(product))


def _pivoted(s: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int32], bool]:
    """The pivoted Cholesky factor, its order, and whether the matrix has full rank."""
    factor, order, rank = _cholesky(s, 0.0)
    if rank < len(s):
        return factor, order, False
    left = factor.diagonal() ** 2 / s.diagonal().numpy()[order]
    return factor, order, bool(left.min() > _ZERO_SHARE)


def _root_of(s: Tensor) -> Tensor:
    """A root A (r, d) of a covariance S of rank r: A^T A = S.

    Factorises the correlations, because the rounding error of an entry is proportional to the
    deviations of its two features: a feature of tiny variance counts as much as any other.
    """
    deviations = torch.where(s.diagonal() > 0, s.diagonal(), 1.0).sqrt()
    correlations = s / deviations / deviations[:, None]
    factor, order, rank = _cholesky(correlations, _ZERO_SHARE)
    root = torch.zeros(rank, len(s), dtype=torch.float64)
    root[:, torch.from_numpy(order).long()] = torch.from_numpy(factor).tril()[:, :rank].T
    if not (root.T @ root - correlations).abs().max() <= _ROOT_TOLERANCE:
        raise ValueError("a matrix is no covariance: it has a negative eigenvalue")
    return root * deviations


def _cholesky(s: Tensor, end: float) -> tuple[NDArray[np.float64], NDArray[np.int32], int]:
    """LAPACK's pivoted factor (lower triangle) down to pivot `end`, its order, and the rank."""
    from scipy.linalg import lapack  # noqa: PLC0415  (slow to import)

    factor, order, rank, _ = lapack.dpstrf(s.numpy(), lower=1, tol=end)
    return factor, order - 1, rank
