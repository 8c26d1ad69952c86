"""Observation models p(x | z): log-density in nats per image, and mean.

Log-densities are comparable only under the same likelihood and the same preprocessing.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

#: For |eta| below this the continuous Bernoulli uses a series (absolute error <= 2.5e-7).
SERIES_BELOW = 0.3
#: Distance from 0 and 1 to which `raw` clips pixel means.
MEAN_MARGIN = 0.001


class Likelihood(Protocol):
    """p(x | z) as a function of the decoder's raw output."""

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """(N,) nats per image, with all constants; `x` and `output` are (N, C, H, W)."""
        ...

    def mean(self, output: Tensor) -> Tensor:
        """Mean image (N, C, H, W) in [0, 1]."""
        ...

    def raw(self, mean: Tensor) -> Tensor:
        """The raw output with a given mean, any shape; the mean is clipped away from 0 and 1."""
        ...


class _Logistic:
    """Base class of likelihoods with mean sigmoid(output)."""

    def mean(self, output: Tensor) -> Tensor:
        """sigmoid(output)."""
        return torch.sigmoid(output.float())

    def raw(self, mean: Tensor) -> Tensor:
        """The logit of the mean."""
        return torch.logit(mean, MEAN_MARGIN)


@dataclass(frozen=True)
class Bernoulli(_Logistic):
    """Independent Bernoulli pixels; `output` holds logits.

    It is a likelihood only for x in {0, 1}. On grey images it is a cross-entropy, whose minimum is
    the entropy of the images instead of 0, and which bounds no likelihood.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Sum over the image of x * output - softplus(output)."""
        output = output.float()
        return (x * output - F.softplus(output)).flatten(1).sum(1)


@dataclass(frozen=True)
class Gaussian(_Logistic):
    """Independent normal pixels with mean sigmoid(output) and one standard deviation sigma.

    Sigma is one scalar, because the likelihood diverges with one sigma per pixel if a pixel is
    constant (80 % of MNIST's pixels).
    """

    log_sigma: Tensor | float

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """-SSE / (2 sigma^2) - D log sigma - D/2 log 2 pi."""
        squares = (x - self.mean(output)).square().flatten(1)
        log_sigma = torch.as_tensor(self.log_sigma, dtype=squares.dtype, device=squares.device)
        constant = squares.shape[1] * (log_sigma + 0.5 * math.log(2 * math.pi))
        return -0.5 * squares.sum(1) * (-2 * log_sigma).exp() - constant


@dataclass(frozen=True)
class ContinuousBernoulli:
    """A density on [0, 1] proportional to p^x (1 - p)^(1 - x); `output` is eta = logit(p).

    Loaiza-Ganem & Cunningham 2019 (arXiv 1907.06845). Its mean is not sigmoid(eta): at eta = 3 the
    mean is 0.719 and sigmoid(eta) is 0.953.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Sum over the image of x * eta - softplus(eta) + log C(eta)."""
        eta = output.float()
        values = x * eta - F.softplus(eta) + self.log_normaliser(eta)
        return values.flatten(1).sum(1)

    def log_normaliser(self, eta: Tensor) -> Tensor:
        """Log C(eta) = log|eta| - log tanh(|eta| / 2), near 0 as a series; any shape."""
        near = eta.abs() < SERIES_BELOW
        # Both branches of `where` need a finite gradient, also the one that is not selected.
        size = torch.where(near, 1.0, eta.abs())
        far = size.log() - torch.tanh(size / 2).log()
        square = torch.where(near, eta, 0.0).square()
        series = math.log(2) + square / 12 - 7 * square.square() / 1440
        return torch.where(near, series, far)

    def mean(self, output: Tensor) -> Tensor:
        """1 / (1 - exp(-eta)) - 1 / eta, near 0 as a series."""
        eta = output.float()
        near = eta.abs() < SERIES_BELOW
        safe = torch.where(near, 1.0, eta)
        series = 0.5 + eta / 12 - eta**3 / 720
        return torch.where(near, series, -1 / torch.expm1(-safe) - 1 / safe)

    def raw(self, mean: Tensor) -> Tensor:
        """Inverse of the mean by bisection; the mean increases with eta."""
        low, high = torch.full_like(mean, -1 / MEAN_MARGIN), torch.full_like(mean, 1 / MEAN_MARGIN)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.mean(middle) < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
