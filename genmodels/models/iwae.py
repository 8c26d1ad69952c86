"""Importance-weighted autoencoder."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from genmodels.base.model import normal
from genmodels.base.vae import VAEBase
from genmodels.base.vae_config import VAEConfig
from genmodels.objectives.priors import normal_log_prob


class Config(VAEConfig):
    """Settings of kind `iwae`.

    Attributes:
        num_importance: K, latent draws per image.
        gradient: `iwae` is the gradient of the bound; `dreg` is the doubly reparametrised
            estimator, whose signal-to-noise ratio for the encoder does not decrease with K (Tucker
            et al. 2018, arXiv 1810.04152).
    """

    kind: Literal["iwae"]
    num_importance: Annotated[int, Field(ge=1)]
    gradient: Literal["iwae", "dreg"]


class Model(VAEBase):
    """Maximises E log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda et al. 2016, Eq. 8).

    The rate is log q(z_k | x) - log p(z_k) at the draws, not the closed form. During a warm-up its
    weight is below 1, so the logged `bound` is not yet a lower bound. An `optimal` sigma is the
    unweighted mean of the squared errors of all draws; the optimum of the bound, which uses the
    importance weights, is slightly smaller.
    """

    config: Config

    def objective(
        self, x: Tensor, y: Tensor | None, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The negative bound; the logged distortion and rate are those of the first draw."""
        num = self.config.num_importance
        epsilon = torch.stack(
            [normal((len(x), self.config.latent_dim), rng, x.device) for _ in range(num)]
        )
        mean, logvar = self.posterior(x, y)
        z = mean + (0.5 * logvar).exp() * epsilon
        dreg = self.config.gradient == "dreg"
        posterior = (mean.detach(), logvar.detach()) if dreg else (mean, logvar)
        log_likelihood = self.log_likelihood(x, y, z)
        rate = normal_log_prob(z, *posterior) - self.prior_log_prob(z)
        warmup = self.warmup_at(step)
        log_w = log_likelihood - warmup * rate
        weights = log_w.detach().softmax(0)
        bound = log_w.logsumexp(0) - math.log(num)
        loss = -bound.mean()
        if dreg:
            if z.requires_grad:
                # At warm-up weight 1 the gradient through z has the factor w^2: one w from this
                # hook, one from the weighted sum below. The (1 - warmup) part of the likelihood's
                # gradient has the factor w.
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
        """The values of every VAE, and the bound with K draws as the headline."""
        values = super().validation_step(x, y, rng)
        bound = self.log_likelihood_bound(x, self.config.num_importance, rng, y)
        return {**values, "bound": bound}
