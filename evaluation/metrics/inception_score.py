"""Inception score of samples (Salimans et al. 2016) with the extractor's own classes.

Not for model selection: it rates ten prototypes above the data itself. `params` has mean and
standard deviation over ten splits, the shares of the predicted classes, their total variation
distance to the shares of the real images, and the mean of the largest probability.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler

NAME = "is_{extractor}"
SPLITS = 10


def class_score(logits: Tensor) -> float:
    """exp(mean_i KL(p_i || mean p)) of logits (N, K), in [1, K]."""
    log_p = F.log_softmax(logits.to("cpu", torch.float64), dim=1)
    p = log_p.exp()
    marginal = p.mean(0)
    # entr returns 0 at p = 0; -p log p would return NaN.
    entropy = torch.special.entr(marginal).sum()
    return (entropy - torch.special.entr(p).sum(1).mean()).exp().item()


def split_scores(logits: Tensor, seed: int, splits: int = SPLITS) -> Tensor:
    """(splits,) class scores of parts of nearly equal size of a seeded permutation."""
    n = len(logits)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    parts = [order[i * n // splits : (i + 1) * n // splits] for i in range(splits)]
    return torch.tensor([class_score(logits[part]) for part in parts], dtype=torch.float64)


def class_shares(logits: Tensor) -> Tensor:
    """(K,) shares of the predicted classes."""
    counts = logits.argmax(1).bincount(minlength=logits.shape[1])
    return counts.double() / len(logits)


def _compute(context: Context) -> dict[str, float | Measurement]:
    logits = context.sample_logits
    shares, real = class_shares(logits), class_shares(context.reference_logits)
    params = {
        "class_shares": shares.tolist(),
        "total_variation": (shares - real).abs().sum().item() / 2,
        "mean_max_probability": logits.double().softmax(1).amax(1).mean().item(),
    }
    if len(logits) >= SPLITS:
        scores = split_scores(logits, context.seeds.metric)
        params["splits_mean"], params["splits_sd"] = scores.mean().item(), scores.std().item()
    return {NAME: Measurement(class_score(logits), params)}


METRIC = Metric("inception_score", (Sampler,), (ValueSpec(NAME, "raw", True),), _compute)
