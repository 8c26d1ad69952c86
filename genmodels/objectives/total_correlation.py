"""Decomposition of the rate into mutual information, total correlation and dimension-wise KL.

The total correlation KL(q(z) || prod_d q(z_d)) measures the dependence between the dimensions of
the codes, in nats.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from genmodels.objectives.priors import LOG_2_PI


class Decomposition(NamedTuple):
    """The three terms of the rate per code; their sum is exactly log q(z | x) - log p(z).

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
    """Log-weights for the estimate of q(z) = 1/N sum_n q(z | x_n) from a minibatch.

    z_i is drawn from q(z | x_i), so the batch always contains that one of the N components, and
    contains the others at random. The weight of x_i is therefore 1/N, and the weight of every
    other image is (N - 1) / (N (B - 1)). The expectation equals that of minibatch stratified
    sampling (Chen et al. 2018, arXiv 1802.04942, appendix C), which treats one column separately.

    Args:
        batch_size: B, at least 2.
        num_training_images: N, size of the training split, also when another split is scored.
        device: Device of the result; None = CPU.

    Returns:
        (B, B); entry (i, j) is the log-weight of q(z_i | x_j). The weights of a row sum to 1.
    """
    others = (num_training_images - 1) / (num_training_images * (batch_size - 1))
    log_weights = torch.full((batch_size, batch_size), math.log(others), device=device)
    return log_weights.fill_diagonal_(-math.log(num_training_images))


def decompose(
    mean: Tensor, logvar: Tensor, z: Tensor, log_prior: Tensor, log_weights: Tensor
) -> Decomposition:
    """Decomposes the rate of sampled codes (Chen et al. 2018, Eq. 2).

    The estimate depends on the batch as a whole and is biased. The mutual information is at most
    log N and reaches log N when no two posteriors of the batch overlap. The total correlation may
    be negative (about -0.5 for independent codes at B = 256).

    Args:
        mean: (N, d) mean of q(z | x).
        logvar: (N, d) log-variance of q(z | x).
        z: (N, d); row i is drawn from q(z | x_i).
        log_prior: (N,) log p(z), nats.
        log_weights: (N, N) of `stratified_log_weights`.
    """
    # log q(z_id | x_j) as (d, i, j), so that the sums over j read contiguous memory.
    at, mean, logvar = (part.T.contiguous() for part in (z, mean, logvar))
    squares = (at[:, :, None] - mean[:, None]).square()
    constant = logvar[:, None] + LOG_2_PI
    log_q = -0.5 * (squares * torch.exp(-logvar)[:, None] + constant)
    own = log_q.diagonal(dim1=1, dim2=2).sum(0)
    # One weight per image: added after the sum over the dimensions, not in each dimension.
    joint = (log_weights + log_q.sum(0)).logsumexp(1)
    product = (log_weights + log_q).logsumexp(2).sum(0)
    return Decomposition(own - joint, joint - product, product - log_prior)
