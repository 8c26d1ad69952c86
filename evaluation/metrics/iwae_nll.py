"""Importance-weighted bound on the negative log-likelihood, nats per image, the mean over images.

-log 1/K sum_k p(x, z_k) / q(z_k | x) with K draws of z_k from q(z | x), at beta = 1 whatever was
trained (Burda et al. 2016, arXiv 1509.00519, Eq. 8). An upper bound that falls as K grows: values
of different K are different metrics, and values of different observation models do not compare,
nor do those with and without the class given.

K = 200 on the first 200 reference images: 40,000 decoded images, 2 seconds on one thread with the
VAE of mnist5k and 5 with the largest of its relatives. On the models of binarised pixels there
K = 1000 is 0.6 to 0.9 nats lower, alike for all of them; on the Gaussian one, whose weights are
far from even, 9. `params` has the ELBO of the same images and draws, since that of all images is
another; and the effective sample size of an image's weights, (sum w)^2 / sum w^2: with a median
under 10 (a rule of thumb) the bound is loose.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evaluation.measuring.context import Context, UnavailableError, device_of, judged
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure, mean_over_images
from evaluation.measuring.protocols import ImportanceBound, likelihood_of

NUM_IMPORTANCE = 200
NUM_IMAGES = 200


@dataclass(frozen=True)
class Bounds:
    """What K importance weights say of each image, (N,) float64.

    Attributes:
        log_likelihood: Log 1/K sum_k w_k, a lower bound of log p(x) in expectation; nats.
        elbo: 1/K sum_k log w_k, an estimate of the ELBO; nats.
        effective_samples: (sum_k w_k)^2 / sum_k w_k^2, 1 to K.
    """

    log_likelihood: Tensor
    elbo: Tensor
    effective_samples: Tensor


def bounds(blocks: Iterable[Tensor]) -> Bounds:
    """Sums importance weights up, block by block, on the log scale.

    Args:
        blocks: Log weights (k, N), nats; the k add up to K.
    """
    num = 0
    log_sum = log_squares = torch.tensor(-math.inf, dtype=torch.float64)
    total = torch.tensor(0.0, dtype=torch.float64)
    for block in blocks:
        log_w = block.to("cpu", torch.float64)
        num += len(log_w)
        total = total + log_w.sum(0)
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        log_squares = torch.logaddexp(log_squares, (2 * log_w).logsumexp(0))
    return Bounds(log_sum - math.log(num), total / num, (2 * log_sum - log_squares).exp())


def _compute(context: Context) -> dict[str, float | Measurement]:
    model, real = context.model, context.reference.first(NUM_IMAGES)
    assert isinstance(model, ImportanceBound)
    observation = likelihood_of(model)
    if model.observation == "bernoulli_grey":
        return {"iwae_nll": failure("no_likelihood", observation=observation)}
    if not len(real.images):
        raise UnavailableError("too_few_samples")
    rng = torch.Generator().manual_seed(context.seeds.sample)
    x, told = real.images.to(device_of(model)), context.told(real.labels)
    with judged(model):
        found = bounds(model.importance_log_weights(x, NUM_IMPORTANCE, rng, **told))
    if not (found.log_likelihood + found.elbo).isfinite().all():
        raise UnavailableError("non_finite_likelihood")
    measured = mean_over_images(
        -found.log_likelihood,
        context,
        observation=observation,
        k=NUM_IMPORTANCE,
        elbo=found.elbo.mean().item(),
        effective_samples_median=found.effective_samples.quantile(0.5).item(),
        effective_samples_q05=found.effective_samples.quantile(0.05).item(),
    )
    return {"iwae_nll": replace(measured, num=len(real.images))}


METRIC = Metric(
    "iwae_nll", (ImportanceBound,), (ValueSpec("iwae_nll", "nats/image", False),), _compute
)
