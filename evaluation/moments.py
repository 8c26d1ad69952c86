"""Means, covariances and the Frechet distance of two feature sets, in float64 on the CPU."""

import math

import torch
from torch import Tensor


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


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and a factor A with A^T A the covariance, of at most d rows."""
    x = features.to("cpu", torch.float64)
    n, d = x.shape
    if n < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {n}")
    mean = x.mean(0)
    root = (x - mean) / math.sqrt(n - 1)
    return mean, torch.linalg.qr(root, mode="r").R if n > d else root


def frechet_floor(covariance: Tensor, n: int, m: int) -> float:
    """What the Frechet distance of two iid sets from one Gaussian is on average.

    tr S (1/n + 1/m) + sum_ij l_i l_j (1 + delta_ij) / (2 (l_i + l_j)) (1/(n-1) + 1/(m-1)), with l
    the eigenvalues of S: the second-order expansion of the distance in the two sampling errors.

    Args:
        covariance: (d, d), S.
        n: Size of one set, at least 2.
        m: Size of the other, at least 2.
    """
    values = torch.linalg.eigvalsh(covariance.to("cpu", torch.float64)).clamp(min=0)
    sums = values[:, None] + values[None, :]
    terms = torch.where(sums > 0, values[:, None] * values[None, :] / (2 * sums), 0.0)
    second = (terms.sum() + terms.diagonal().sum()).item()
    return values.sum().item() * (1 / n + 1 / m) + second * (1 / (n - 1) + 1 / (m - 1))
