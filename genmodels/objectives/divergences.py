"""Divergences between distributions over the latent space, in nats."""

import torch
from torch import Tensor


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) per dimension (Kingma & Welling 2014, appendix B).

    Args:
        mean: (N, d).
        logvar: (N, d).

    Returns:
        (N, d), at least 0. expm1 avoids cancellation near logvar = 0.
    """
    return 0.5 * (mean.square() + torch.expm1(logvar) - logvar)
