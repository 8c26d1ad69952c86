"""Penalties on the discriminator's gradient, and clipping of its weights."""

from collections.abc import Iterable

import torch
from torch import Tensor


def squared_gradient_norm(logits: Tensor, x: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each image, the penalty of R1 and R2.

    R1 is gamma / 2 times its mean over real images, R2 over generated images (Mescheder et al.
    2018, Eqs. 9 and 10). The gradient is that of the logits with respect to images in [-1, 1]; for
    images in [0, 1] the squared norm would be four times as large.

    Args:
        logits: (N,) float32, computed from `x`. A logit must not depend on the other images, so
            batch norm is excluded.
        x: (N, ...), requires a gradient.

    Returns:
        (N,), summed over channels and pixels, differentiable.
    """
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def deviation_from_unit_norm(squared_norm: Tensor) -> Tensor:
    """(||grad_x D(x)|| - 1)^2 of each image, the penalty of WGAN-GP.

    WGAN-GP is lambda times its mean over `interpolated` images (Gulrajani et al. 2017, Eq. 3).

    Args:
        squared_norm: (N,), from `squared_gradient_norm`.

    Returns:
        (N,); the gradient is finite at norm 0.
    """
    return ((squared_norm + 1e-12).sqrt() - 1).square()


def interpolated(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """A uniformly drawn point on the line between each real and its paired generated image.

    Args:
        real: (N, ...).
        fake: (N, ...).
        rng: Source of one number per image.

    Returns:
        (N, ...), detached.
    """
    share = torch.rand(len(real), generator=rng, device=rng.device).to(real)
    share = share.reshape(-1, *[1] * (real.dim() - 1))
    return (share * real + (1 - share) * fake).detach()


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], bound: float) -> None:
    """Clips every value to [-bound, bound] (Arjovsky et al. 2017, Algorithm 1)."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)
