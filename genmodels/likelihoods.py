"""Observation models p(x | z): log-density in nats per image, and the mean that people look at.

Values are comparable only within one likelihood and one preparation of the data.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Likelihood(Protocol):
    """p(x | z) given the decoder's raw output."""

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """(N,) nats per image, all constants included; `x` and `output` are (N, C, H, W)."""
        ...

    def mean(self, output: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1]."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """Pixels are coin tosses; `output` are logits.

    A likelihood for x in {0, 1}. On grey images it is a cross-entropy: a lower bound of nothing,
    whose optimum is the images' entropy instead of 0.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Sum over the image of x * output - softplus(output)."""
        output = output.float()
        return (x * output - F.softplus(output)).flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """The probability of a one."""
        return torch.sigmoid(output.float())


@dataclass(frozen=True)
class Gaussian:
    """Pixels are the decoder's mean sigmoid(output) plus noise of one fixed deviation `sigma`."""

    sigma: float

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """-SSE / (2 sigma^2) - D log sigma - D/2 log 2 pi."""
        squares = (x - self.mean(output)).square().flatten(1)
        constant = squares.shape[1] * (math.log(self.sigma) + 0.5 * math.log(2 * math.pi))
        return -squares.sum(1) / (2 * self.sigma**2) - constant

    def mean(self, output: Tensor) -> Tensor:
        """The decoder's mean."""
        return torch.sigmoid(output.float())
