"""Penalties on the gradient of the discriminator, and the clipping of its weights."""

from collections.abc import Iterable

import torch
from torch import Tensor


def squared_gradient_norm(logits: Tensor, x: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each image, which R1 and R2 draw to zero.

    Gamma / 2 times its mean on real images is R1, on generated ones R2 (Mescheder et al. 2018,
    Eq. 9 and 10). The gradient is of the logits, with respect to images in [-1, 1]; with respect
    to [0, 1] it would be four times as large.

    Args:
        logits: (N,), float32, computed from `x`, which requires a gradient. No logit may depend on
            another image: with batch norm the per-image gradient does not exist.
        x: (N, ...).

    Returns:
        (N,), the sum over channels and pixels, differentiable.
    """
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().flatten(1).sum(1)


def deviation_from_unit_norm(squared_norm: Tensor) -> Tensor:
    """(||grad_x D(x)|| - 1)^2 of each image, lambda times whose mean is WGAN-GP's penalty.

    Gulrajani et al. 2017, Eq. 3, at `interpolated` images.

    Args:
        squared_norm: (N,), of `squared_gradient_norm`.

    Returns:
        (N,); its gradient is finite where the norm is 0.
    """
    return ((squared_norm + 1e-12).sqrt() - 1).square()


def interpolated(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """A point on the line between each real image and its generated partner, uniformly drawn.

    Args:
        real: (N, ...).
        fake: (N, ...).
        rng: The source of one number per image.

    Returns:
        (N, ...), without a gradient to either side.
    """
    share = torch.rand(len(real), generator=rng, device=rng.device).to(real)
    share = share.reshape(-1, *[1] * (real.dim() - 1))
    return (share * real + (1 - share) * fake).detach()


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], bound: float) -> None:
    """Moves every value into [-bound, bound] (Arjovsky et al. 2017, Algorithm 1)."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)
