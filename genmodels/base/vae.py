"""The base VAE: distortion, rate and bounds in nats per image; a kind overrides its regulariser."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from genmodels.base.gaussian_latent import GaussianLatentModel
from genmodels.base.model import (
    SCORING_BATCH,
    Images,
    Phase,
    evaluation_mode,
    normal,
    scoring_batches,
)
from genmodels.base.samplers import MAX_CODES
from genmodels.base.schedules import cyclical
from genmodels.objectives.divergences import kl_to_standard_normal
from genmodels.objectives.priors import normal_log_prob

#: Minimum variance of the posterior mean over images for an active unit (Burda et al. 2016).
ACTIVE_ABOVE = 0.01


@dataclass(frozen=True)
class Terms:
    """The terms of the objective from one forward pass.

    Attributes:
        mean: (N, d) mean of the posterior.
        logvar: (N, d) log-variance of the posterior.
        z: (N, d), one draw from the posterior.
        rate: (N,) KL(q(z | x) || p(z)), nats: in closed form for the normal prior, estimated from
            `z` for the vamp prior, where it may be negative.
        distortion: (N,) -log p(x | z), nats.
    """

    mean: Tensor
    logvar: Tensor
    z: Tensor
    rate: Tensor
    distortion: Tensor


class VAEBase(GaussianLatentModel):
    """A VAE that minimises distortion + warm-up * regulariser.

    A kind overrides `regularizer`, which is the rate by default, or the whole `objective`.
    """

    def phases(self) -> tuple[Phase, ...]:
        """One phase; pseudo-inputs have no weight decay, which would draw them towards black."""
        decayed = [
            parameter
            for name, parameter in self.named_parameters()
            if parameter.dim() > 1 and name != "pseudo_inputs"
        ]
        return (self.whole_phase("vae", list(self.parameters()), decayed),)

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The term that is added to the distortion, before the warm-up weight.

        Args:
            terms: Terms of the batch.
            step: From 0.
            rng: Source of the regulariser's own noise.

        Returns:
            (N,) or a scalar, nats; and the values to log.
        """
        return terms.rate, {}

    def warmup_at(self, step: int) -> float:
        """The weight of the regulariser at a step, 0 to 1."""
        config = self.config
        return cyclical(step, config.num_steps, config.kl_warmup, config.kl_cycles)

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The objective of the (binarised) images."""
        return self.objective(self.observe(x, self.pixel_noise(x, rng)), y, step, rng)

    def objective(
        self, x: Tensor, y: Tensor | None, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """E_q[-log p(x | z)] plus the weighted regulariser, and the values to log."""
        terms = self.terms(x, y, normal((len(x), self.config.latent_dim), rng, x.device))
        penalty, logged = self.regularizer(terms, step, rng)
        warmup = self.warmup_at(step)
        return {
            "loss": (terms.distortion + warmup * penalty).mean(),
            **averages(terms),
            **self.sigma_terms(),
            "kl_weight": torch.tensor(warmup),
            **{key: torch.as_tensor(value).detach() for key, value in logged.items()},
        }

    def validation_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Active units, distortion, rate, and the ELBO with regulariser weight 1."""
        terms = self.score(x, y, rng)
        return {
            "active_units": active_units(terms.mean),
            "distortion": terms.distortion,
            "rate": terms.rate,
            "elbo": -(terms.distortion + terms.rate),
        }

    def rate_distortion(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The two terms of the negative ELBO.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Source of the binarisation noise, then of one latent draw per image.
            labels: (N,) classes, for a conditional model.

        Returns:
            Rate (N,) and distortion (N,) from one draw of z, nats per image.
        """
        terms = self.score(x, labels, rng)
        return terms.rate, terms.distortion

    def score(self, x: Tensor, labels: Tensor | None, rng: torch.Generator) -> Terms:
        """All terms in evaluation mode.

        All noise is drawn before the first forward pass, in the order of the images, so that the
        values do not depend on the batch size. The arguments are those of `rate_distortion`.
        """
        noise = self.pixel_noise(x, rng)
        epsilon = normal((len(x), self.config.latent_dim), rng, self.device)
        images, parts = Images(self.observe(x, noise).to(self.device), labels), []
        with evaluation_mode(self):
            for rows in scoring_batches(len(x)):
                terms = self.terms(*images.at(rows), epsilon[rows])
                parts.append((terms.mean, terms.logvar, terms.z, terms.rate, terms.distortion))
        return Terms(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def posterior_codes(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance of q(z | x) and one draw of it, each (N, latent_dim).

        The arguments are those of `rate_distortion`.
        """
        terms = self.score(x, labels, rng)
        return terms.mean, terms.logvar, terms.z

    def log_likelihood_bound(
        self,
        x: Tensor,
        num_importance: int,
        rng: torch.Generator,
        labels: Tensor | None = None,
        rows: int = SCORING_BATCH,
    ) -> Tensor:
        """L_K = E log 1/K sum_k p(x, z_k) / q(z_k | x), a lower bound of log p(x).

        Burda et al. 2016 (arXiv 1509.00519), Eq. 8; K = 1 is the ELBO from one draw.

        The arguments are those of `importance_log_weights`.

        Returns:
            (N,) float64 nats per image.
        """
        total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=self.device)
        for log_w in self.importance_log_weights(x, num_importance, rng, labels, rows):
            total = torch.logaddexp(total, log_w.logsumexp(0))
        return total - math.log(num_importance)

    def importance_log_weights(
        self,
        x: Tensor,
        num_importance: int,
        rng: torch.Generator,
        labels: Tensor | None = None,
        rows: int = SCORING_BATCH,
    ) -> Iterator[Tensor]:
        """Log p(x, z_k) - log q(z_k | x) of K draws of z, in blocks.

        Args:
            x: (N, C, H, W) in [0, 1].
            num_importance: K.
            rng: Source of the binarisation noise, then of K latent draws per image.
            labels: (N,) classes, for a conditional model.
            rows: Maximum number of latents per forward pass; affects memory and speed, not values.

        Yields:
            (k, N) float64 nats for the next k draws.
        """
        images = Images(self.observe(x, self.pixel_noise(x, rng)).to(self.device), labels)
        shape = (len(x), self.config.latent_dim)
        block_size = max(1, rows // len(x))
        batches = list(scoring_batches(len(x), rows))
        with evaluation_mode(self):
            posteriors = [self.posterior(*images.at(batch)) for batch in batches]
        for start in range(0, num_importance, block_size):
            count = min(block_size, num_importance - start)
            # One call per draw, so that the noise does not depend on the block size.
            epsilon = torch.stack([normal(shape, rng, self.device) for _ in range(count)])
            # Inside the loop, so that the caller's code between two blocks keeps its own mode.
            with evaluation_mode(self):
                block = [
                    self.log_weights(*images.at(batch), *posterior, epsilon[:, batch])
                    for batch, posterior in zip(batches, posteriors, strict=True)
                ]
            yield torch.cat(block, 1).double()

    def log_weights(
        self, x: Tensor, y: Tensor | None, mean: Tensor, logvar: Tensor, epsilon: Tensor
    ) -> Tensor:
        """Log p(x, z_k) - log q(z_k | x) at z_k = mean + std * epsilon_k.

        Args:
            x: (N, C, H, W), after binarisation.
            y: (N,) classes, or None.
            mean: (N, d) mean of q(z | x).
            logvar: (N, d) log-variance of q(z | x).
            epsilon: (K, N, d) standard normal.

        Returns:
            (K, N) nats.
        """
        z = mean + (0.5 * logvar).exp() * epsilon
        log_likelihood = self.log_likelihood(x, y, z)
        return log_likelihood + self.prior_log_prob(z) - normal_log_prob(z, mean, logvar)

    def terms(self, x: Tensor, y: Tensor | None, epsilon: Tensor) -> Terms:
        """The terms of binarised images (N, C, H, W) with the posterior noise `epsilon` (N, d)."""
        mean, logvar = self.posterior(x, y)
        z = mean + (0.5 * logvar).exp() * epsilon
        distortion = -self.log_prob(x, self.decoder(self.with_one_hot(z, y)))
        if self.config.prior == "normal":
            rate = kl_to_standard_normal(mean, logvar).sum(1)
        else:
            rate = normal_log_prob(z, mean, logvar) - self.prior_log_prob(z)
        return Terms(mean, logvar, z, rate, distortion)

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits the mixture of sampler `gmm` to one posterior draw of each training image."""
        if self.config.sampler == "gmm":
            rows = torch.randperm(len(images.x), generator=rng, device=rng.device)[:MAX_CODES]
            x, y = images.at(rows)
            self.mixture.fit(self.score(x, y, rng).z, rng.initial_seed(), y)


def averages(terms: Terms) -> dict[str, Tensor]:
    """Batch means of distortion, rate and ELBO, for the history."""
    distortion, rate = terms.distortion.detach().mean(), terms.rate.detach().mean()
    return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}


def active_units(mean: Tensor) -> Tensor:
    """Number of dimensions in which the posterior mean (N, d) varies over the images; a scalar.

    Burda et al. 2016, section 5.2: the variance of the mean exceeds 0.01. The estimate needs
    several hundred images.
    """
    return (mean.var(0) > ACTIVE_ABOVE).sum()
