"""The three parts of the rate of held-out codes, nats per image, and their linear dependence.

log q(z | x) - log p(z) is the sum of `mutual_information` (log q(z | x) - log q(z)),
`total_correlation` (log q(z) - sum_d log q(z_d)) and `dimension_wise_kl` (sum_d log q(z_d) -
log p(z)), with q(z) the mixture of the posteriors of all training images (Chen et al. 2018, arXiv
1802.04942, Eq. 2). q(z) is estimated from B codes, in blocks of at most 1,000 whose sizes differ by
one at most: the posterior of the code itself has weight 1/N, every other one (N - 1) / (N (B - 1)).
The estimate is biased for few codes: the mutual information cannot exceed the log of the number of
training images. All are diagnostics.

`gaussian_total_correlation` is the total correlation of a normal distribution with the covariance
of the codes, as in disentanglement_lib (Locatello et al. 2019, arXiv 1811.12359). It measures only
linear dependence and does not have that limit.
"""

import math

import torch
from torch import Tensor

from evaluation.measuring import model_calls
from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import GaussianCodes
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.seeding import generator

#: Codes per block.
BLOCK = 1000
PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")
GAUSSIAN = "gaussian_total_correlation"


def parts(mean: Tensor, logvar: Tensor, z: Tensor, log_prior: Tensor, num_train: int) -> Tensor:
    """The parts of the rate of one block of codes, (3, B) nats in the order of `PARTS`.

    Args:
        mean: (B, d) means of q(z | x).
        logvar: (B, d) log variances of q(z | x).
        z: (B, d) codes, row i drawn from q(z | x_i).
        log_prior: (B,) log p(z), nats.
        num_train: N, the number of training images.
    """
    size = len(z)
    log_weights = torch.full(
        (size, size), math.log((num_train - 1) / (num_train * (size - 1))), device=z.device
    ).fill_diagonal_(-math.log(num_train))
    # log q(z_id | x_j) as (d, i, j), so that the sums over j run over contiguous memory.
    at, mean, logvar = (part.T.contiguous() for part in (z, mean, logvar))
    squares = (at[:, :, None] - mean[:, None]).square()
    constant = logvar[:, None] + math.log(2 * math.pi)
    log_q = -0.5 * (squares * torch.exp(-logvar)[:, None] + constant)
    own = log_q.diagonal(dim1=1, dim2=2).sum(0)
    joint = (log_weights + log_q.sum(0)).logsumexp(1)
    product = (log_weights + log_q).logsumexp(2).sum(0)
    return torch.stack([own - joint, joint - product, product - log_prior])


def gaussian_total_correlation(z: Tensor) -> float:
    """The total correlation of a normal distribution with the covariance of codes (N, d), nats."""
    return -0.5 * torch.linalg.slogdet(torch.corrcoef(z.double().T)).logabsdet.item()


def _compute(context: Context) -> dict[str, float | Measurement]:
    model, real = context.model, context.reference
    assert isinstance(model, GaussianCodes)
    if len(real.images) < 2:
        raise UnavailableError("too_few_samples")
    rng = generator(context.seeds.sample, "codes")
    arguments = model_calls.label_arguments(model, real.labels)
    x, num_train = real.images.to(model_calls.device_of(model)), len(context.train.images)
    blocks = []
    with model_calls.evaluation_mode(model):
        mean, logvar, z = model.posterior_codes(x, rng, **arguments)
        for at in torch.arange(len(z), device=z.device).tensor_split(math.ceil(len(z) / BLOCK)):
            log_prior = model.prior_log_prob(z[at])
            blocks.append(parts(mean[at], logvar[at], z[at], log_prior, num_train))
    values = torch.cat(blocks, 1).double()
    if not values.isfinite().all():
        raise UnavailableError("non_finite_latents")
    means = {name: row.mean().item() for name, row in zip(PARTS, values, strict=True)}
    return {**means, GAUSSIAN: gaussian_total_correlation(z)}


METRIC = Metric(
    "total_correlation",
    (GaussianCodes,),
    tuple(ValueSpec(name, "nats/image", None) for name in (*PARTS, GAUSSIAN)),
    _compute,
)
