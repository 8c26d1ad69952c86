"""Mean squared error of reconstructions: the mean over the pixels, then over the images."""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.measuring.protocols import Reconstructor


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """(N,) float64 mean squared error of each image; both are (N, C, H, W) in [0, 1]."""
    return (x.double() - x_hat.double()).square().flatten(1).mean(1)


def _compute(context: Context) -> dict[str, float | Measurement]:
    errors = squared_error(context.reference.images, context.reconstructions)
    return {"mse": mean_over_images(errors, context)}


METRIC = Metric("mse", (Reconstructor,), (ValueSpec("mse", "raw", False, 0.0),), _compute)
