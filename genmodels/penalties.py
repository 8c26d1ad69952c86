"""Gradient penalties on the discriminator."""

import torch
from torch import Tensor


def squared_gradient_norm(logits: Tensor, x: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each image: R1 is its mean on real images, times gamma / 2.

    Mescheder et al. 2018, Eq. 9. The gradient is of the logits, with respect to the images that the
    discriminator sees, in [-1, 1]; with respect to [0, 1] it would be four times as large.

    Args:
        logits: (N,), computed from `x`, which requires a gradient. No logit may depend on another
            image: with batch norm the per-image gradient does not exist.
        x: (N, C, H, W).

    Returns:
        (N,), the sum over channels and pixels, differentiable.
    """
    with torch.autocast(x.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(logits.float().sum(), x, create_graph=True)
        return gradient.float().square().flatten(1).sum(1)
