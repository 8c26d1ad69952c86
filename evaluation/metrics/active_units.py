"""Active units: the latent dimensions whose posterior mean varies over the images.

A dimension is active if Var_x(E[z_d | x]) > 0.01 over the reference images (Burda et al. 2016,
arXiv 1509.00519, section 5.2). The threshold has a meaning beside a prior of unit scale only: null
with any other prior, and for a deterministic encoder.
"""

from torch import Tensor

from evaluation.measuring.context import Context, UnavailableError
from evaluation.measuring.latents import unit_posterior
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder

THRESHOLD = 0.01


def active_units(mean: Tensor) -> int:
    """How many dimensions of posterior means (N, d), N >= 2, vary by more than the threshold."""
    return int((mean.double().var(0) > THRESHOLD).sum())


def _compute(context: Context) -> dict[str, float | Measurement]:
    mean, _ = unit_posterior(context)
    if len(mean) < 2:
        raise UnavailableError("too_few_samples")
    params = {"threshold": THRESHOLD, "latent_dim": mean.shape[1]}
    return {"active_units": Measurement(active_units(mean), params)}


METRIC = Metric("active_units", (Encoder,), (ValueSpec("active_units", "raw", None),), _compute)
