"""Bits per dimension: the bound on the negative log-likelihood as a code length per pixel value.

It is a code length only for a probability mass on the pixels' levels or a density of dequantised
pixels. It is null for a density of undequantised pixels, which is unbounded, and for Bernoulli on
grey pixels, which is no likelihood. `params` has the number of levels and the likelihood: bits of
binarised and of 8-bit pixels are not comparable, and neither are p(x) and p(x | class).
"""

import math

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure, mean_over_images
from evaluation.measuring.protocols import LikelihoodBound, likelihood_of

#: Levels of a pixel and added bits of each observation model that defines a code length.
CODES: dict[str, tuple[int, float]] = {
    "bernoulli_binary": (2, 0.0),
    "discretised": (256, 0.0),
    # A density of (u + U[0, 1)) / 256: its levels are 1/256 apart.
    "dequantised": (256, 8.0),
}


def bits_per_dim(nll: Tensor, num_dims: int, added_bits: float = 0.0) -> Tensor:
    """NLL / (D ln 2) + added bits.

    Args:
        nll: (N,) nats per image.
        num_dims: D, number of values per image.
        added_bits: log2 of the levels per unit for a density; 0 (default) for a mass.
    """
    return nll / (num_dims * math.log(2)) + added_bits


def _compute(context: Context) -> dict[str, float | Measurement]:
    assert isinstance(context.model, LikelihoodBound)
    model, observation = context.model.observation, likelihood_of(context.model)
    if model not in CODES:
        reason = "no_likelihood" if model == "bernoulli_grey" else "undequantised_density"
        return {"bits_per_dim": failure(reason, observation=observation)}
    levels, added = CODES[model]
    rate, distortion = context.rate_distortion
    values = bits_per_dim(rate + distortion, context.reference.images[0].numel(), added)
    measured = mean_over_images(values, context, observation=observation, levels=levels)
    return {"bits_per_dim": measured}


METRIC = Metric(
    "bits_per_dim",
    (LikelihoodBound,),
    (ValueSpec("bits_per_dim", "bits/dim", False),),
    _compute,
)
