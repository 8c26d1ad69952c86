"""Means, covariances and the Frechet distance of two feature sets, in float64 on the CPU."""

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Rows per QR step. Absorbing them into a d x d root costs 2 (d + rows) d^2 operations, so fewer
# rows than d = 2048 would decompose the root again and again; 4,096 of them are 64 MiB.
_ROWS = 4096

# What share of a variance counts as none once the other features are known. The covariance of n
# features that depend on one another leaves up to 1.5 sqrt(n) times the machine epsilon of it
# (measured): 7e-14 at n = 50,000.
_NOTHING = 1e-12

# How far the square of a root may be from its correlation matrix. Statistics in float64 are within
# 1e-14, those that were once float32 within 1e-5, what is no covariance is off by what is negative.
_ROOT_TOLERANCE = 1e-3


class Moments:
    """The mean and covariance of features that come in batches, without keeping the features.

    The covariance is held as a root A, A^T A = S: each block of rows is centred and absorbed by a
    QR step, together with one row for the distance of its mean to the mean so far (the pairwise
    update of Chan, Golub and LeVeque 1983). So it has the digits of the features themselves where
    sums of squares would keep half of them. Blocks are filled up before they are absorbed: how the
    features are split into batches does not change a bit.
    """

    def __init__(self, num_features: int) -> None:
        self._absorbed = 0
        self._mean = torch.zeros(num_features, dtype=torch.float64)
        self._root = torch.zeros(0, num_features, dtype=torch.float64)
        self._block = torch.empty(_ROWS, num_features, dtype=torch.float64)
        self._waiting = 0

    @property
    def count(self) -> int:
        """The number of rows so far."""
        return self._absorbed + self._waiting

    def update(self, features: Tensor) -> None:
        """Adds features (N, d), N >= 0."""
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(
                f"expected features (N, {len(self._mean)}), got {tuple(features.shape)}"
            )
        first = _ROWS - self._waiting
        for rows in (features[:first], *features[first:].split(_ROWS)):
            self._block[self._waiting : self._waiting + len(rows)] = rows
            self._waiting += len(rows)
            if self._waiting == _ROWS:
                self._mean, self._root = self._joined()
                self._absorbed, self._waiting = self.count, 0

    def mean_and_root(self) -> tuple[Tensor, Tensor]:
        """The mean (d,) and a root A (r, d) of the covariance (ddof=1): A^T A = S.

        Raises:
            ValueError: There are fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 rows, got {self.count}")
        mean, root = self._joined()
        return mean, root / math.sqrt(self.count - 1)

    def _joined(self) -> tuple[Tensor, Tensor]:
        """The mean and the root of the summed squares, the waiting rows among them."""
        if not self._waiting:
            return self._mean, self._root
        rows = self._block[: self._waiting]
        mean = rows.mean(0)
        shift, parts = mean - self._mean, [self._root, rows - mean]
        if self._absorbed:
            parts.append(math.sqrt(self._absorbed * self._waiting / self.count) * shift[None])
        root = torch.cat(parts)
        if len(root) > root.shape[1]:
            root = torch.linalg.qr(root, mode="r").R
        return self._mean + shift * (self._waiting / self.count), root


def covariance(features: Tensor) -> Tensor:
    """(d, d) covariance of features (N, d), ddof=1."""
    return features.to("cpu", torch.float64).T.cov(correction=1).reshape(features.shape[1], -1)


def total_variance(features: Tensor) -> float:
    """The trace of the covariance of features (N, d), ddof=1."""
    return features.to("cpu", torch.float64).var(0, correction=1).sum().item()


def frechet_parts(reference: Tensor, generated: Tensor) -> tuple[float, float]:
    """The squared Frechet distance between Gaussians fitted to two feature sets, in two parts.

    |mu1 - mu2|^2 and tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) (Heusel et al. 2017, eq. 6; ddof=1). With
    S1 = A^T A and S2 = B^T B the last trace is the sum of the singular values of A B^T: no matrix
    square root, no complex numbers, no epsilon, exact for any rank. Rounding may leave a negative
    of about 1e-12, which is not clamped.

    Args:
        reference: (N, d), N >= 2.
        generated: (M, d), M >= 2.

    Returns:
        Mean part and covariance part; their sum is the distance.
    """
    mean_1, root_1 = _mean_and_root(reference)
    mean_2, root_2 = _mean_and_root(generated)
    cross = torch.linalg.svdvals(root_1 @ root_2.T).sum()
    traces = root_1.square().sum() + root_2.square().sum()
    return (mean_1 - mean_2).square().sum().item(), (traces - 2 * cross).item()


def frechet_floor(covariance: Tensor, n: int, m: float) -> float:
    """What the Frechet distance of two iid sets from one Gaussian is on average.

    tr S (1/n + 1/m) + sum_ij l_i l_j (1 + delta_ij) / (2 (l_i + l_j)) (1/(n-1) + 1/(m-1)), with l
    the eigenvalues of S: the second-order expansion of the distance in the two sampling errors.

    Args:
        covariance: (d, d), S.
        n: Size of one set, at least 2.
        m: Size of the other, at least 2; infinite for the Gaussian itself.
    """
    values = torch.linalg.eigvalsh(covariance.to("cpu", torch.float64)).clamp(min=0)
    sums = values[:, None] + values[None, :]
    terms = torch.where(sums > 0, values[:, None] * values[None, :] / (2 * sums), 0.0)
    second = (terms.sum() + terms.diagonal().sum()).item()
    return values.sum().item() * (1 / n + 1 / m) + second * (1 / (n - 1) + 1 / (m - 1))


def frechet_from_moments(
    mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor
) -> tuple[float, float]:
    """The same from means (d,) and covariances (d, d), which published statistics consist of.

    Singular covariances are as good as any and nothing is added to them; a direction counts as
    missing where less than 1e-12 of a feature's variance is left, which rounding may be.

    Returns:
        Mean part and covariance part; their sum is the distance.

    Raises:
        ValueError: A matrix is no covariance: it is asymmetric or has a negative eigenvalue.
    """
    mean_1, s1, mean_2, s2 = (
        given.to("cpu", torch.float64) for given in (mean_1, covariance_1, mean_2, covariance_2)
    )
    d = len(mean_1)
    if not (mean_1.shape == mean_2.shape == (d,) and s1.shape == s2.shape == (d, d)):
        shapes = ", ".join(str(tuple(given.shape)) for given in (mean_1, s1, mean_2, s2))
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
    """Reads the statistics of a feature set as FID tools publish them: an .npz with mu and sigma.

    Returns:
        Mean (d,) and covariance (d, d), float64.

    Raises:
        ValueError: The file holds no such statistics; the message says why in one line.
    """
    try:
        return _read(path)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no statistics ({str(error).splitlines()[0]})") from None


def _read(path: Path) -> tuple[Tensor, Tensor]:
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
    # Sums in float32 are symmetric to 1e-7.
    return bool((s - s.T).abs().max() <= 1e-6 * s.abs().max())


def _eigenvalues_of_product(s1: Tensor, s2: Tensor) -> Tensor | None:
    """The eigenvalues (d,) of S1 S2, which are those of L^T S2 L; None if a matrix is singular.

    S1 = L L^T with pivots, the largest variance first: L^T S2 L then falls off along its diagonal
    and keeps its small eigenvalues when it is reduced to three diagonals, which the product itself
    does not. The distance was within 1e-13 of the variance at condition numbers of 1e8, within
    1e-11 at 1e12; with the eigenvalues of the product within 1e-10 and 1e-6.
    """
    from scipy.linalg import lapack  # noqa: PLC0415  (slow to import)

    factor, order, definite = _pivoted(s1)
    if not (definite and _pivoted(s2)[2]):
        return None
    product, _ = lapack.dsygst(s2.numpy()[np.ix_(order, order)], factor, itype=2, lower=1)
    return torch.linalg.eigvalsh(torch.from_numpy(product))


def _pivoted(s: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int32], bool]:
    """The Cholesky factor with pivots, its order, and whether no direction is missing."""
    factor, order, rank = _cholesky(s, 0.0)
    if rank < len(s):
        return factor, order, False
    left = factor.diagonal() ** 2 / s.diagonal().numpy()[order]
    return factor, order, bool(left.min() > _NOTHING)


def _root_of(s: Tensor) -> Tensor:
    """A root A (r, d) of a covariance S of rank r: A^T A = S.

    On the correlations, because what rounding leaves of an entry goes with the deviations of its
    two features: a feature of tiny variance counts as much as any.
    """
    deviations = torch.where(s.diagonal() > 0, s.diagonal(), 1.0).sqrt()
    correlations = s / deviations / deviations[:, None]
    factor, order, rank = _cholesky(correlations, _NOTHING)
    root = torch.zeros(rank, len(s), dtype=torch.float64)
    root[:, torch.from_numpy(order).long()] = torch.from_numpy(factor).tril()[:, :rank].T
    if not (root.T @ root - correlations).abs().max() <= _ROOT_TOLERANCE:
        raise ValueError("a matrix is no covariance: it has a negative eigenvalue")
    return root * deviations


def _cholesky(s: Tensor, end: float) -> tuple[NDArray[np.float64], NDArray[np.int32], int]:
    """LAPACK's factor (lower triangle) with pivots down to `end`, its order, and the rank."""
    from scipy.linalg import lapack  # noqa: PLC0415  (slow to import)

    factor, order, rank, _ = lapack.dpstrf(s.numpy(), lower=1, tol=end)
    return factor, order - 1, rank


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    moments = Moments(features.shape[1])
    moments.update(features)
    return moments.mean_and_root()
