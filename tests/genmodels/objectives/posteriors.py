"""Gaussian posteriors with a known total correlation."""

import math

import torch


def codes(seed, sigma, size=256, dim=10, rho=None):
    """Posteriors with deviation `sigma` and aggregate N(0, I), or with correlation `rho`."""
    rng = torch.Generator().manual_seed(seed)
    covariance = torch.eye(dim) * (1 - sigma**2)
    if rho is not None:
        covariance[0, 1] = covariance[1, 0] = rho
    root = torch.linalg.cholesky(covariance)
    mean = torch.randn(size, dim, generator=rng) @ root.T
    z = mean + sigma * torch.randn(size, dim, generator=rng)
    return mean, torch.full_like(mean, 2 * math.log(sigma)), z
