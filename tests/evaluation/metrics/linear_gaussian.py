"""Probabilistic PCA: a model whose likelihood and posterior are known, as any model is judged."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from evaluation.measuring.real_images import RealImages

SHAPE = (1, 3, 4)
DIM, LATENTS = 12, 3


class LinearGaussian:
    """p(x) = N(0, W W^T + sigma^2 I) through x = W z + sigma noise (Tipping & Bishop 1999).

    Orthogonal loadings: the exact posterior has independent dimensions. It is the encoder's where
    `shift` (of the mean, in deviations) is 0 and `stretch` (of the deviation) is 1.
    """

    observation = "gaussian"
    unit_normal_prior = True

    def __init__(
        self, shift: float = 0.0, stretch: float = 1.0, scale: float = 1.0, block: int = 50
    ) -> None:
        rng = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=rng, dtype=torch.float64))
        self.loadings = scale * basis[:, :LATENTS] * torch.tensor([2.0, 1.0, 0.5]).double()
        self.sigma = 0.5
        self.shift, self.stretch, self.block = shift, stretch, block

    def draw(self, n: int) -> RealImages:
        """Images of the model's own, which are no images but numbers."""
        rng = torch.Generator().manual_seed(1)
        z = torch.randn(n, LATENTS, generator=rng, dtype=torch.float64)
        noise = torch.randn(n, DIM, generator=rng, dtype=torch.float64)
        x = (z @ self.loadings.T + self.sigma * noise).unflatten(1, SHAPE)
        return RealImages(x, None, {}, "linear", "test", "12" * 32)

    def log_evidence(self, x: Tensor) -> Tensor:
        """(N,) log p(x), exactly."""
        covariance = self.loadings @ self.loadings.T + self.sigma**2 * torch.eye(DIM).double()
        return MultivariateNormal(torch.zeros(DIM).double(), covariance).log_prob(x.flatten(1))

    def latent_posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        variance = 1 / (1 + self.loadings.square().sum(0) / self.sigma**2)
        mean = variance * (x.flatten(1) @ self.loadings) / self.sigma**2
        std = variance.sqrt().expand_as(mean)
        return mean + self.shift * std, self.stretch * std

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Both in closed form: no draw is made."""
        mean, std = self.latent_posterior(x, rng)
        rate = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
        error = (x.flatten(1) - mean @ self.loadings.T).square().sum(1)
        error = error + (std.square() * self.loadings.square().sum(0)).sum(1)
        constant = DIM * math.log(self.sigma * math.sqrt(2 * math.pi))
        return rate, error / (2 * self.sigma**2) + constant

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator
    ) -> Iterator[Tensor]:
        posterior = Normal(*self.latent_posterior(x, rng))
        for start in range(0, num_importance, self.block):
            shape = (min(self.block, num_importance - start), len(x), LATENTS)
            epsilon = torch.randn(shape, generator=rng, dtype=torch.float64)
            z = posterior.mean + posterior.stddev * epsilon
            decoded = Normal(z @ self.loadings.T, self.sigma).log_prob(x.flatten(1)).sum(2)
            yield decoded + (Normal(0.0, 1.0).log_prob(z) - posterior.log_prob(z)).sum(2)
