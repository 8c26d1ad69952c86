"""Log-densities over the latent space, in nats."""

import math

import torch
from torch import Tensor

LOG_2_PI = math.log(2 * math.pi)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log N(z; 0, I) of (..., d), shape (...)."""
    return -0.5 * (z.square() + LOG_2_PI).sum(-1)


def normal_log_prob(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """Log N(z; mean, diag exp(logvar)) of (..., d), shape (...); arguments are broadcast."""
    return -0.5 * ((z - mean).square() * (-logvar).exp() + logvar + LOG_2_PI).sum(-1)


def mixture_log_prob(z: Tensor, means: Tensor, logvars: Tensor) -> Tensor:
    """Log-density of an equally weighted mixture of K diagonal normals.

    It is the VampPrior if the components are the posteriors of K pseudo-inputs (Tomczak & Welling
    2018, arXiv 1705.07120, Eq. 10).

    Args:
        z: (N, d).
        means: (K, d).
        logvars: (K, d).

    Returns:
        (N,).
    """
    each = normal_log_prob(z.unsqueeze(1), means, logvars)
    return torch.logsumexp(each, 1) - math.log(len(means))
