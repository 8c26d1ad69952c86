"""Structural similarity of reconstructions (Wang et al. 2004): per image, then the mean.

Only whole windows count. Including the padded border, as torchmetrics does, reverses rankings: a
blur is then better than a good reconstruction.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.measuring.protocols import Reconstructor
from evaluation.measuring.records import UnavailableError

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03  # for images in [0, 1]
_BATCH = 500


def structural_similarity(x: Tensor, x_hat: Tensor) -> Tensor:
    """SSIM of each image: Gaussian window 11x11, k1 = 0.01, k2 = 0.03, biased variances.

    Args:
        x: (N, C, H, W) in [0, 1], H and W at least 11.
        x_hat: The same shape.

    Returns:
        (N,) float64 in [-1, 1].
    """
    parts = []
    for one, other in zip(x.split(_BATCH), x_hat.split(_BATCH), strict=True):
        # float64: variances as differences of squares cancel in float32.
        a, b = one.double(), other.double()
        moments = _blurred(torch.cat([a, b, a * a, b * b, a * b], 1))
        mean_a, mean_b, square_a, square_b, product = moments.chunk(5, dim=1)
        means, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
        covariance, variances = product - means, square_a + square_b - squares
        luminance = (2 * means + K1**2) / (squares + K1**2)
        structure = (2 * covariance + K2**2) / (variances + K2**2)
        parts.append((luminance * structure).flatten(1).mean(1))
    return torch.cat(parts)


def _blurred(images: Tensor) -> Tensor:
    """Gaussian means over whole windows; the window is separable, so one axis after the other."""
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = (-0.5 * (offsets / SIGMA).square()).exp()
    weights /= weights.sum()
    across = images.unfold(3, WINDOW, 1) @ weights
    return across.unfold(2, WINDOW, 1) @ weights


def _compute(context: Context) -> dict[str, float | Measurement]:
    x = context.reference.images
    if min(x.shape[-2:]) < WINDOW:
        raise UnavailableError("image_smaller_than_window")
    values = structural_similarity(x, context.reconstructions)
    return {"ssim": mean_over_images(values, context, window=WINDOW, sigma=SIGMA, data_range=1.0)}


METRIC = Metric("ssim", (Reconstructor,), (ValueSpec("ssim", "raw", True, 1.0),), _compute)
