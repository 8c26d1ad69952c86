"""Importance-weighted bound on the negative log-likelihood, nats per image, the mean over images.

-log 1/K sum_k p(x, z_k) / q(z_k | x) with K draws z_k from q(z | x), at beta = 1 independently of
the training objective (Burda et al. 2016, arXiv 1509.00519, Eq. 8). It is an upper bound that
decreases as K grows. Values of different K or of different observation models are not comparable,
and neither are bounds of p(x) and of p(x | class).

K = 200 on the first 200 reference images: 40,000 decoded images, which take 2 seconds on one thread
with the VAE of mnist5k and 5 with the largest VAE variant. There, K = 1000 lowers the value by 0.6
to 0.9 nats for all models of binarised pixels, and by 9 nats for the Gaussian model, whose weights
are very uneven. `params` has the ELBO of the same images and draws, which differs from the ELBO of
all images, and the effective sample size of an image's weights, (sum w)^2 / sum w^2. A median below
10 (a rule of thumb) indicates a loose bound.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evaluation.measuring import model_calls
from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure, mean_over_images
from evaluation.measuring.protocols import ImportanceBound, likelihood_of
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.seeding import generator

NUM_IMPORTANCE = 200
NUM_IMAGES = 200


@dataclass(frozen=True)
class Bounds:
    """Estimates from K importance weights of each image, (N,) float64.

    Attributes:
        log_likelihood: Log 1/K sum_k w_k, a lower bound of log p(x) in expectation; nats.
        elbo: 1/K sum_k log w_k, an estimate of the ELBO; nats.
        effective_samples: (sum_k w_k)^2 / sum_k w_k^2, 1 to K.
    """

    log_likelihood: Tensor
    elbo: Tensor
    effective_samples: Tensor


def bounds(blocks: Iterable[Tensor]) -> Bounds:
    """Sums importance weights block by block on the log scale.

    Args:
        blocks: Log weights (k, N) in nats; the k sum up to K.
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


def measure(
    context: Context, name: str, num_importance: int, num_images: int, rng: torch.Generator
) -> dict[str, float | Measurement]:
    """The bound as a value of a metric.

    Args:
        context: The model and the reference images.
        name: Name of the value.
        num_importance: K.
        num_images: The first images of the reference are measured, at most this many.
        rng: Source of the draws.

    Raises:
        UnavailableError: There are no images, or a weight is not finite.
    """
    model, real = context.model, context.reference.first(num_images)
    assert isinstance(model, ImportanceBound)
    observation = likelihood_of(model)
    if model.observation == "bernoulli_grey":
        return {name: failure("no_likelihood", observation=observation)}
    if not len(real.images):
        raise UnavailableError("too_few_samples")
    x = real.images.to(model_calls.device_of(model))
    arguments = model_calls.label_arguments(model, real.labels)
    with model_calls.evaluation_mode(model):
        estimates = bounds(model.importance_log_weights(x, num_importance, rng, **arguments))
    if not (estimates.log_likelihood + estimates.elbo).isfinite().all():
        raise UnavailableError("non_finite_likelihood")
    measured = mean_over_images(
        -estimates.log_likelihood,
        context,
        observation=observation,
        k=num_importance,
        elbo=estimates.elbo.mean().item(),
        effective_samples_median=estimates.effective_samples.quantile(0.5).item(),
        effective_samples_q05=estimates.effective_samples.quantile(0.05).item(),
    )
    return {name: replace(measured, num=len(real.images))}


def bound_metric(name: str, num_importance: int, num_images: int) -> Metric:
    """A metric with another number of draws or images.

    Args:
        name: Name of its file and of its value.
        num_importance: K.
        num_images: The first images of the reference are measured, at most this many.
    """

    def compute(context: Context) -> dict[str, float | Measurement]:
        rng = generator(context.seeds.sample, "nll")
        return measure(context, name, num_importance, num_images, rng)

    return Metric(name, (ImportanceBound,), (ValueSpec(name, "nats/image", False),), compute)


def _compute(context: Context) -> dict[str, float | Measurement]:
    rng = torch.Generator().manual_seed(context.seeds.sample)
    return measure(context, "iwae_nll", NUM_IMPORTANCE, NUM_IMAGES, rng)


METRIC = Metric(
    "iwae_nll", (ImportanceBound,), (ValueSpec("iwae_nll", "nats/image", False),), _compute
)
