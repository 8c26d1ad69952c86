"""Active units: the latent dimensions whose posterior mean varies over the images.

A dimension is active if Var_x(E[z_d | x]) > 0.01 over the reference images (Burda et al. 2016,
arXiv 1509.00519, section 5.2). The threshold requires a prior of unit scale: null for any other
prior and for a deterministic encoder.
"""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.latents import unit_posterior
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder
from evaluation.measuring.records import UnavailableError

THRESHOLD = 0.01


def active_units(mean: Tensor) -> int:
    """Number of dimensions of posterior means (N, d), N >= 2, with a variance above 0.01."""
    return int((mean.double().var(0) > THRESHOLD).sum())


def _compute(context: Context) -> dict[str, float | Measurement]:
    mean, _ = unit_posterior(context)
    if len(mean) < 2:
        raise UnavailableError("too_few_samples")
    params = {"threshold": THRESHOLD, "latent_dim": mean.shape[1]}
    return {"active_units": Measurement(active_units(mean), params)}


METRIC = Metric("active_units", (Encoder,), (ValueSpec("active_units", "raw", None),), _compute)
