"""Means, covariances and the Frechet distance of two feature sets, in float64 on the CPU."""

import math

import torch
from torch import Tensor

# Rows per QR step. A step costs 2 (d + rows) d^2 operations for a d x d root, so with fewer rows
# than d = 2048 most of the work would repeat the decomposition of the root; 4,096 rows are 64 MiB.
_ROWS = 4096


class Moments:
    """The mean and covariance of features that arrive in batches, without storing the features.

    The covariance is stored as a root A, A^T A = S. A QR step adds each block of centred rows,
    together with one row for the distance of its mean to the current mean (the pairwise update of
    Chan, Golub and LeVeque 1983). This keeps the full precision of the features; sums of squares
    would keep half of the digits. Each block is filled before it is added, so the result does not
    depend on the batch size, to the bit.
    """

    def __init__(self, num_features: int) -> None:
        self._added = 0
        self._mean = torch.zeros(num_features, dtype=torch.float64)
        self._root = torch.zeros(0, num_features, dtype=torch.float64)
        self._block = torch.empty(_ROWS, num_features, dtype=torch.float64)
        self._pending = 0

    @property
    def count(self) -> int:
        """The number of rows so far."""
        return self._added + self._pending

    def update(self, features: Tensor) -> None:
        """Adds features (N, d), N >= 0."""
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(
                f"expected features (N, {len(self._mean)}), got {tuple(features.shape)}"
            )
        first = _ROWS - self._pending
        for rows in (features[:first], *features[first:].split(_ROWS)):
            self._block[self._pending : self._pending + len(rows)] = rows
            self._pending += len(rows)
            if self._pending == _ROWS:
                self._mean, self._root = self._with_pending()
                self._added, self._pending = self.count, 0

    def mean_and_root(self) -> tuple[Tensor, Tensor]:
        """The mean (d,) and a root A (r, d) of the covariance (ddof=1): A^T A = S.

        Raises:
            ValueError: There are fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 rows, got {self.count}")
        mean, root = self._with_pending()
        return mean, root / math.sqrt(self.count - 1)

    def _with_pending(self) -> tuple[Tensor, Tensor]:
        """The mean and the root of the sum of squares, including the pending rows."""
        if not self._pending:
            return self._mean, self._root
        rows = self._block[: self._pending]
        mean = rows.mean(0)
        shift, parts = mean - self._mean, [self._root, rows - mean]
        if self._added:
            parts.append(math.sqrt(self._added * self._pending / self.count) * shift[None])
        root = torch.cat(parts)
        if len(root) > root.shape[1]:
            root = torch.linalg.qr(root, mode="r").R
        return self._mean + shift * (self._pending / self.count), root


def covariance(features: Tensor) -> Tensor:
    """(d, d) covariance of features (N, d), ddof=1."""
    return features.to("cpu", torch.float64).T.cov(correction=1).reshape(features.shape[1], -1)


def total_variance(features: Tensor) -> float:
    """The trace of the covariance of features (N, d), ddof=1."""
    return features.to("cpu", torch.float64).var(0, correction=1).sum().item()


def frechet_parts(reference: Tensor, generated: Tensor) -> tuple[float, float]:
    """The squared Frechet distance between Gaussians fitted to two feature sets, in two parts.

    |mu1 - mu2|^2 and tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) (Heusel et al. 2017, eq. 6; ddof=1). With
    S1 = A^T A and S2 = B^T B the last trace is the sum of the singular values of A B^T. This needs
    no matrix square root, no complex numbers and no epsilon, and is exact for any rank. Rounding
    can give a negative value of about -1e-12, which is not clamped.

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
    """The expected Frechet distance of two independent samples of one Gaussian.

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


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    moments = Moments(features.shape[1])
    moments.update(features)
    return moments.mean_and_root()
