"""How far q(z) is from its independent dimensions: total correlation of sampled codes, in nats.

Two estimators: a decomposition of the rate over a minibatch, and a critic that tells codes from
codes whose dimensions were shuffled.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genmodels.objectives.priors import LOG_2_PI


class Decomposition(NamedTuple):
    """The three parts of the rate, one value a code; their sum is log q(z | x) - log p(z) exactly.

    Attributes:
        mutual_information: (N,) log q(z | x) - log q(z), the index-code mutual information.
        total_correlation: (N,) log q(z) - sum_d log q(z_d).
        dimension_wise_kl: (N,) sum_d log q(z_d) - log p(z).
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def stratified_log_weights(
    batch_size: int, num_training_images: int, device: torch.device | None = None
) -> Tensor:
    """Log-weights with which a minibatch estimates q(z) = 1/N sum_n q(z | x_n).

    z_i was drawn at x_i, so the batch holds that one of the N components for certain and the others
    by chance: x_i weighs 1/N and every other image of the batch (N - 1) / (N (B - 1)). Has the
    expectation of minibatch stratified sampling (Chen et al. 2018, arXiv 1802.04942, appendix C)
    without its special column.

    Args:
        batch_size: B, at least 2.
        num_training_images: N, the size of the training split, whatever is being evaluated.
        device: Where the result lies; None for the CPU.

    Returns:
        (B, B), entry (i, j) the log-weight of q(z_i | x_j); the weights of a row sum to 1.
    """
    others = (num_training_images - 1) / (num_training_images * (batch_size - 1))
    log_weights = torch.full((batch_size, batch_size), math.log(others), device=device)
    return log_weights.fill_diagonal_(-math.log(num_training_images))


def decompose(
    mean: Tensor, logvar: Tensor, z: Tensor, log_prior: Tensor, log_weights: Tensor
) -> Decomposition:
    """Splits the rate of sampled codes (Chen et al. 2018, Eq. 2).

    The estimate depends on the batch as a whole and is biased: the mutual information cannot exceed
    log N and reaches it once no two posteriors of a batch overlap; the total correlation may be
    below 0 (about -0.5 on independent codes at B = 256).

    Args:
        mean: (N, d) of q(z | x).
        logvar: (N, d).
        z: (N, d), row i drawn from q(z | x_i).
        log_prior: (N,) log p(z), nats.
        log_weights: (N, N) of `stratified_log_weights`.
    """
    # log q(z_id | x_j) as (d, i, j): the sums over j run over contiguous memory.
    at, mean, logvar = (part.T.contiguous() for part in (z, mean, logvar))
    squares = (at[:, :, None] - mean[:, None]).square()
    constant = logvar[:, None] + LOG_2_PI
    log_q = -0.5 * (squares * torch.exp(-logvar)[:, None] + constant)
    own = log_q.diagonal(dim1=1, dim2=2).sum(0)
    # The weight belongs to an image: once after the sum over the dimensions, not once in each.
    joint = (log_weights + log_q.sum(0)).logsumexp(1)
    product = (log_weights + log_q).logsumexp(2).sum(0)
    return Decomposition(own - joint, joint - product, product - log_prior)


def permute_dimensions(z: Tensor, rng: torch.Generator) -> Tensor:
    """Shuffles every dimension among the codes by itself (Kim & Mnih 2018, Algorithm 1).

    Args:
        z: (N, d) draws from q(z).
        rng: Draws one permutation a dimension.

    Returns:
        (N, d), draws from prod_d q(z_d): the same marginals, no dependence.
    """
    keys = torch.rand(z.shape, generator=rng, device=rng.device)
    return z.gather(0, keys.argsort(0).to(z.device))


def density_ratio_loss(logits_joint: Tensor, logits_product: Tensor) -> Tensor:
    """Cross-entropy of a critic that tells q(z) from prod_d q(z_d) (Kim & Mnih 2018, Eq. 3).

    At its minimum the logit is the log-ratio of the two densities, so its mean over q(z) is the
    total correlation.

    Args:
        logits_joint: (N,) at draws from q(z).
        logits_product: (N,) at draws from prod_d q(z_d).

    Returns:
        The mean, nats; log 2 for a critic that knows nothing.
    """
    return 0.5 * (F.softplus(-logits_joint).mean() + F.softplus(logits_product).mean())
