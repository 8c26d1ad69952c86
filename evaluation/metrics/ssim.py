"""Structural similarity of reconstructions (Wang et al. 2004): per image, then the mean.

The map is cropped by the window's radius. Averaging the padded border too, as torchmetrics does,
reverses rankings: a blur then beats a good reconstruction.
"""

import torch
from torch import Tensor

from evaluation.context import Context, UnavailableError
from evaluation.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.protocols import Reconstructor

WINDOW = 11
SIGMA = 1.5
_BATCH = 500


def structural_similarity(x: Tensor, x_hat: Tensor) -> Tensor:
    """SSIM of each image: Gaussian window 11x11, k1 = 0.01, k2 = 0.03, biased variances.

    Args:
        x: (N, C, H, W) in [0, 1], H and W at least 11.
        x_hat: The same shape.

    Returns:
        (N,) float64 in [-1, 1].
    """
    from torchmetrics.functional.image import (  # noqa: PLC0415  (seconds to import)
        structural_similarity_index_measure as ssim_map,
    )

    inner = slice(WINDOW // 2, -(WINDOW // 2))
    parts = []
    for one, other in zip(x.split(_BATCH), x_hat.split(_BATCH), strict=True):
        # float64: variances as differences of squares cancel in float32.
        full = ssim_map(
            other.double(),
            one.double(),
            sigma=SIGMA,
            data_range=1.0,
            reduction="none",
            return_full_image=True,
        )[1]
        parts.append(full[..., inner, inner].flatten(1).mean(1))
    return torch.cat(parts)


def _compute(context: Context) -> dict[str, float | Measurement]:
    x = context.reference.images
    if min(x.shape[-2:]) < WINDOW:
        raise UnavailableError("image_smaller_than_window")
    values = structural_similarity(x, context.reconstructions)
    return {"ssim": mean_over_images(values, context, window=WINDOW, sigma=SIGMA, data_range=1.0)}


METRIC = Metric("ssim", (Reconstructor,), (ValueSpec("ssim", "raw", True, 1.0),), _compute)
