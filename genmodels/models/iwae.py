"""Importance weighted autoencoder."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from genmodels.base.model import normal
from genmodels.base.vae import VAEBase, VAEConfig
from genmodels.objectives.priors import normal_log_prob


class Config(VAEConfig):
    """Settings of kind `iwae`.

    Attributes:
        num_importance: K, latent draws per image.
        gradient: `iwae` differentiates the bound; `dreg` is the doubly reparametrised estimator,
            whose encoder gradient does not drown in noise as K grows (Tucker et al. 2018, arXiv
            1810.04152).
    """

    kind: Literal["iwae"]
    num_importance: Annotated[int, Field(ge=1)]
    gradient: Literal["iwae", "dreg"]


class Model(VAEBase):
    """Maximises E log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda et al. 2016, Eq. 8).

    The densities are those of the draws; the rate in closed form plays no part. During a warm-up
    they count less, and `bound` is no bound yet. An `optimal` sigma follows the plain mean of the
    squared errors of all draws; the bound's own optimum, which weighs them, is a little smaller.
    """

    config: Config

    def objective(
        self, x: Tensor, y: Tensor | None, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Minus the bound; distortion and rate are those of the first draw."""
        num = self.config.num_importance
        epsilon = torch.stack(
            [normal((len(x), self.config.latent_dim), rng, x.device) for _ in range(num)]
        )
        mean, logvar = self.posterior(x, y)
        z = mean + (0.5 * logvar).exp() * epsilon
        dreg = self.config.gradient == "dreg"
        scored = (mean.detach(), logvar.detach()) if dreg else (mean, logvar)
        log_likelihood = self.log_likelihood(x, y, z)
        rate = normal_log_prob(z, *scored) - self.prior_log_prob(z)
        warmup = self.warmup_at(step)
        log_w = log_likelihood - warmup * rate
        weights = log_w.detach().softmax(0)
        bound = log_w.logsumexp(0) - math.log(num)
        loss = -bound.mean()
        if dreg:
            if z.requires_grad:
                # At full weight of the densities the path through z gets w twice: once here, once
                # in the sum below. What a warm-up leaves of the likelihood's own gets it once.
                factor = (1 - warmup) + warmup * weights
                z.register_hook(lambda gradient: gradient * factor.unsqueeze(-1))
            surrogate = -(weights * log_w).sum(0).mean()
            loss = surrogate - surrogate.detach() + loss.detach()
        distortion, first_rate = -log_likelihood[0].detach().mean(), rate[0].detach().mean()
        return {
            "loss": loss,
            "bound": bound.detach().mean(),
            "distortion": distortion,
            "rate": first_rate,
            "elbo": -(distortion + first_rate),
            **self.sigma_terms(),
            "kl_weight": torch.tensor(warmup),
            "effective_samples": (1 / weights.square().sum(0)).mean(),
        }

    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """As for every VAE, and the bound that is trained."""
        watched = super().validation_step(x, y, rng)
        bound = self.log_likelihood_bound(x, self.config.num_importance, rng, y)
        return {**watched, "bound": bound}
