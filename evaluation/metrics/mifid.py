"""Memorisation-informed Frechet distance (Bai et al. 2021): FID over distance to the train set.

Copies of training images have a small FID. This metric divides the FID by the mean cosine distance
of the generated features to their nearest train features if that mean is below 0.1. For exact
copies the result is 1e14 times the FID.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.moments import frechet_parts
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.records import UnavailableError

NAME = "mifid_{extractor}"
#: Cosine distance below which the FID is divided by it (tau of the paper).
NEAR = 0.1
#: Added to the divisor, which is 0 for copies; the value of the authors.
LEAST = 1e-14
_CHUNK = 1000


def cosine_distance(generated: Tensor, train: Tensor) -> float:
    """Mean over generated features (M, d) of 1 - |cosine| to the nearest train feature (N, d).

    A feature of length 0 has no direction and distance 1 from all others.
    """
    x, y = (_normalised(side) for side in (generated, train))
    nearest = [(rows @ y.T).abs().amax(1) for rows in x.split(_CHUNK)]
    return (1 - torch.cat(nearest).clamp(max=1)).mean().item()


def _normalised(features: Tensor) -> Tensor:
    x = features.to("cpu", torch.float64)
    lengths = x.norm(dim=1, keepdim=True)
    return torch.where(lengths > 0, x / lengths, 0.0)


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, train = context.sample_features, context.real_features(context.train)
    if not len(train):
        raise UnavailableError("too_few_train_images")
    distance = cosine_distance(generated, train)
    fid = sum(frechet_parts(context.reference_features, generated))
    value = fid / ((distance if distance < NEAR else 1.0) + LEAST)
    return {NAME: Measurement(value, {"cosine_distance": distance, "near": NEAR})}


METRIC = Metric("mifid", (Sampler,), (ValueSpec(NAME, "raw", False),), _compute)
