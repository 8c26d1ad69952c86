"""Peak signal-to-noise ratio of reconstructions: dB of each image, then the mean over images.

The ratio of the pooled error would be another number.
"""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.images import ROUNDING_MSE
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.measuring.protocols import Reconstructor
from evaluation.metrics.mse import squared_error


def peak_signal_to_noise(errors: Tensor) -> Tensor:
    """-10 log10 of (N,) mean squared errors of images in [0, 1], in dB, at most 58.92.

    Errors below the variance of rounding to 8 bits are clamped, so that a perfect image is finite.
    """
    return -10 * errors.clamp(min=ROUNDING_MSE).log10()


def _compute(context: Context) -> dict[str, float | Measurement]:
    errors = squared_error(context.reference.images, context.reconstructions)
    clamped = int((errors < ROUNDING_MSE).sum())
    values = peak_signal_to_noise(errors)
    return {"psnr": mean_over_images(values, context, data_range=1.0, clamped=clamped)}


METRIC = Metric("psnr", (Reconstructor,), (ValueSpec("psnr", "dB", True),), _compute)
