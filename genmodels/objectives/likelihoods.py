"""Observation models p(x | z): log-density in nats per image, and the mean that people look at.

Values are comparable only within one likelihood and one preparation of the data.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

#: Below this |eta| the continuous Bernoulli's constant is a series (absolute error <= 2.5e-7).
SERIES_BELOW = 0.3
#: Pixel means are kept this far from 0 and 1 where a decoder's bias starts at them.
MEAN_MARGIN = 0.001


class Likelihood(Protocol):
    """p(x | z) given the decoder's raw output."""

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """(N,) nats per image, all constants included; `x` and `output` are (N, C, H, W)."""
        ...

    def mean(self, output: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1]."""
        ...

    def raw(self, mean: Tensor) -> Tensor:
        """The output whose mean is `mean`, any shape, kept off the ends of [0, 1]."""
        ...


class _Logistic:
    """What the likelihoods share whose mean is the sigmoid of the output."""

    def mean(self, output: Tensor) -> Tensor:
        """sigmoid(output)."""
        return torch.sigmoid(output.float())

    def raw(self, mean: Tensor) -> Tensor:
        """The logit."""
        return torch.logit(mean, MEAN_MARGIN)


@dataclass(frozen=True)
class Bernoulli(_Logistic):
    """Pixels are coin tosses; `output` are logits.

    A likelihood for x in {0, 1}. On grey images it is a cross-entropy: a lower bound of nothing,
    whose optimum is the images' entropy instead of 0.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Sum over the image of x * output - softplus(output)."""
        output = output.float()
        return (x * output - F.softplus(output)).flatten(1).sum(1)


@dataclass(frozen=True)
class Gaussian(_Logistic):
    """Pixels are the decoder's mean sigmoid(output) plus noise of one deviation for all of them.

    One scalar only: a deviation per pixel diverges where a pixel is constant, as 80 % of MNIST is.
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

    Loaiza-Ganem & Cunningham 2019 (arXiv 1907.06845). Its mean is not sigmoid(eta): at eta = 3 it
    is 0.719, and the sigmoid 0.953.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Sum over the image of x * eta - softplus(eta) + log C(eta)."""
        eta = output.float()
        values = x * eta - F.softplus(eta) + self.log_normaliser(eta)
        return values.flatten(1).sum(1)

    def log_normaliser(self, eta: Tensor) -> Tensor:
        """Log C(eta) = log|eta| - log tanh(|eta| / 2), by its series around 0; any shape."""
        near = eta.abs() < SERIES_BELOW
        # The branch that is not chosen must have a finite gradient, too.
        size = torch.where(near, 1.0, eta.abs())
        far = size.log() - torch.tanh(size / 2).log()
        square = torch.where(near, eta, 0.0).square()
        series = math.log(2) + square / 12 - 7 * square.square() / 1440
        return torch.where(near, series, far)

    def mean(self, output: Tensor) -> Tensor:
        """1 / (1 - exp(-eta)) - 1 / eta, by its series around 0."""
        eta = output.float()
        near = eta.abs() < SERIES_BELOW
        safe = torch.where(near, 1.0, eta)
        series = 0.5 + eta / 12 - eta**3 / 720
        return torch.where(near, series, -1 / torch.expm1(-safe) - 1 / safe)

    def raw(self, mean: Tensor) -> Tensor:
        """Bisection: the mean rises with eta and has no inverse in closed form."""
        low, high = torch.full_like(mean, -1 / MEAN_MARGIN), torch.full_like(mean, 1 / MEAN_MARGIN)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.mean(middle) < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
