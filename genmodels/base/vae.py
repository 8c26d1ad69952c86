"""The base VAE: distortion and rate, nats per image; a kind overrides one hook, its regulariser."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from genmodels import networks
from genmodels.base.image_likelihood import LikelihoodConfig, LikelihoodModel, pieces
from genmodels.base.model import SCORING_BATCH, Images, Phase, evaluation_mode, normal
from genmodels.base.samplers import MAX_CODES, MixtureSampler
from genmodels.base.schedules import cyclical
from genmodels.networks.shape import ImageShape
from genmodels.objectives.divergences import kl_to_standard_normal
from genmodels.objectives.priors import mixture_log_prob, normal_log_prob, standard_normal_log_prob

LOGVAR_BOUND = 10.0
#: A latent is active if its posterior mean varies by more over the images (Burda et al. 2016).
ACTIVE_ABOVE = 0.01
#: Deviation of the noise on the training images where the pseudo-inputs start.
PSEUDO_INPUT_NOISE = 0.01


class VAEConfig(LikelihoodConfig):
    """The settings of every continuous VAE kind.

    Attributes:
        prior: `normal` is N(0, I); `vamp` is an even mixture of the posteriors of learned
            pseudo-inputs (Tomczak & Welling 2018, arXiv 1705.07120).
        num_pseudo_inputs: How many (vamp), null otherwise.
        sampler: Where latents are sampled from: the prior, or `gmm`, a Gaussian mixture fitted to
            the codes of the training images after the training (Ghosh et al. 2020), of each class
            where the model is conditional.
        gmm_components: Of the mixture (gmm), null otherwise.
        kl_warmup: Share of the run, or of each cycle, over which the regulariser's weight rises
            from 0.
        kl_cycles: How many times it does (Fu et al. 2019, arXiv 1903.10145); 1 is a plain warm-up.
    """

    prior: Literal["normal", "vamp"]
    num_pseudo_inputs: Annotated[int, Field(ge=1)] | None
    sampler: Literal["prior", "gmm"]
    gmm_components: Annotated[int, Field(ge=1)] | None
    kl_warmup: Annotated[float, Field(ge=0, le=1)]
    kl_cycles: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _numbers_fit_choices(self) -> Self:
        for key, choice, number in (
            ("prior", "vamp", "num_pseudo_inputs"),
            ("sampler", "gmm", "gmm_components"),
        ):
            if (getattr(self, key) == choice) != (getattr(self, number) is not None):
                needs = "a number" if getattr(self, key) == choice else "null"
                raise ValueError(f"{key} {getattr(self, key)!r} needs {number}: {needs}")
        if self.prior == "vamp" and self.conditional:
            raise ValueError(
                "prior 'vamp' with conditional: true: the pseudo-inputs have no classes; "
                "set prior: normal"
            )
        return self


@dataclass(frozen=True)
class Terms:
    """What a forward pass gives the objective.

    Attributes:
        mean: (N, d) of the posterior.
        logvar: (N, d) of the posterior.
        z: (N, d), one draw of it.
        rate: (N,) KL(q(z | x) || p(z)), nats: in closed form for the normal prior, from `z` for the
            vamp prior, where it may be negative.
        distortion: (N,) -log p(x | z), nats.
    """

    mean: Tensor
    logvar: Tensor
    z: Tensor
    rate: Tensor
    distortion: Tensor


class VAEBase(LikelihoodModel):
    """q(z | x) = N(mean, diag exp(logvar)), prior p(z), decoder p(x | z).

    Kingma & Welling 2014 (arXiv 1312.6114). A conditional one models p(x | class): the class is
    given to encoder and decoder, and its likelihood is a conditional one.

    Without batch norm: the objective of an image must not depend on its batch mates.
    """

    config: VAEConfig

    def __init__(self, config: VAEConfig, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        options = config.network(norm="none", dropout=config.dropout)
        arch, latent_dim = config.architecture, config.latent_dim
        self.encoder = networks.downward(arch, self.encoder_shape, 2 * latent_dim, options)
        self.decoder = networks.upward(arch, self.decoder_inputs(latent_dim), shape, options)
        if config.num_pseudo_inputs:
            self.pseudo_inputs = nn.Parameter(torch.zeros(config.num_pseudo_inputs, *shape))
        if config.gmm_components:
            groups = num_classes if config.conditional else 1
            self.mixture = MixtureSampler(config.gmm_components, latent_dim, groups)

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights; decoder and sigma start at the mean image, pseudo-inputs at images."""
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)
        if self.config.num_pseudo_inputs:
            chosen = torch.randint(len(images.x), (self.config.num_pseudo_inputs,), generator=rng)
            noise = normal(self.pseudo_inputs.shape, rng, self.device)
            start = images.x[chosen.to(images.x.device)] + PSEUDO_INPUT_NOISE * noise
            # Inside (0, 1): the clipping has no gradient outside.
            self.pseudo_inputs = nn.Parameter(start.clamp(0.001, 0.999))

    def phases(self) -> tuple[Phase, ...]:
        """One phase; learned images are no weights, so that no decay draws them to black."""
        decayed = [
            parameter
            for name, parameter in self.named_parameters()
            if parameter.dim() > 1 and name != "pseudo_inputs"
        ]
        return (self.whole_phase("vae", list(self.parameters()), decayed),)

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """What is added to the distortion, times the warm-up: the rate, unless a kind overrides it.

        Args:
            terms: Of the batch.
            step: From 0.
            rng: For noise of the regulariser's own.

        Returns:
            (N,) or a scalar, nats; and what is to be logged.
        """
        return terms.rate, {}

    def warmup_at(self, step: int) -> float:
        """The weight of the regulariser at a step, 0 to 1."""
        config = self.config
        return cyclical(step, config.num_steps, config.kl_warmup, config.kl_cycles)

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Binarises where it is asked for, then the objective."""
        return self.objective(self.observe(x, self.pixel_noise(x, rng)), y, step, rng)

    def objective(
        self, x: Tensor, y: Tensor | None, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """E_q[-log p(x | z)] plus the regulariser, and what is logged."""
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
        """Active units, distortion, rate and ELBO at weight 1, whatever the schedules say."""
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
        """The two halves of the negative ELBO.

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Binarisation noise, then one latent draw per image.
            labels: (N,) classes, for a conditional model.

        Returns:
            Rate (N,) and distortion (N,) from one draw of z, nats per image.
        """
        terms = self.score(x, labels, rng)
        return terms.rate, terms.distortion

    def score(self, x: Tensor, labels: Tensor | None, rng: torch.Generator) -> Terms:
        """All terms in evaluation mode.

        All noise is drawn first, image by image in order, so that the values do not depend on how
        the split is cut into batches. The arguments are those of `rate_distortion`.
        """
        noise = self.pixel_noise(x, rng)
        epsilon = normal((len(x), self.config.latent_dim), rng, self.device)
        seen, parts = Images(self.observe(x, noise).to(self.device), labels), []
        with evaluation_mode(self):
            for piece in pieces(len(x)):
                terms = self.terms(*seen.at(piece), epsilon[piece])
                parts.append((terms.mean, terms.logvar, terms.z, terms.rate, terms.distortion))
        return Terms(*(torch.cat(column) for column in zip(*parts, strict=True)))

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
        """Log p(x, z_k) - log q(z_k | x) of K draws of z, block by block.

        Args:
            x: (N, C, H, W) in [0, 1].
            num_importance: K.
            rng: Binarisation noise, then K latent draws per image.
            labels: (N,) classes, for a conditional model.
            rows: Latents that are decoded at a time; decides memory and speed, not the values.

        Yields:
            (k, N) float64 nats of the next k draws.
        """
        seen = Images(self.observe(x, self.pixel_noise(x, rng)).to(self.device), labels)
        shape = (len(x), self.config.latent_dim)
        at_once = max(1, rows // len(x))
        parts = list(pieces(len(x), rows))
        with evaluation_mode(self):
            posteriors = [self.posterior(*seen.at(piece)) for piece in parts]
        for start in range(0, num_importance, at_once):
            count = min(at_once, num_importance - start)
            # One call a draw: the noise must not depend on how many are taken together.
            epsilon = torch.stack([normal(shape, rng, self.device) for _ in range(count)])
            # Not around the loop: whoever takes the blocks would be in evaluation mode, too.
            with evaluation_mode(self):
                block = [
                    self.log_weights(*seen.at(piece), *posterior, epsilon[:, piece])
                    for piece, posterior in zip(parts, posteriors, strict=True)
                ]
            yield torch.cat(block, 1).double()

    def log_weights(
        self, x: Tensor, y: Tensor | None, mean: Tensor, logvar: Tensor, epsilon: Tensor
    ) -> Tensor:
        """Log p(x, z_k) - log q(z_k | x) at the draws that `epsilon` makes.

        Args:
            x: (N, C, H, W), observed.
            y: (N,) classes, or None.
            mean: (N, d) of q(z | x).
            logvar: (N, d) of q(z | x).
            epsilon: (K, N, d) standard normal.

        Returns:
            (K, N) nats.
        """
        z = mean + (0.5 * logvar).exp() * epsilon
        log_likelihood = self.log_likelihood(x, y, z)
        return log_likelihood + self.prior_log_prob(z) - normal_log_prob(z, mean, logvar)

    def log_likelihood(self, x: Tensor, y: Tensor | None, z: Tensor) -> Tensor:
        """Log p(x | z_k), (K, N) nats, of x (N, C, H, W) at z (K, N, d)."""
        num = len(z)
        repeated = None if y is None else y.repeat(num)
        output = self.decoder(self.with_one_hot(z.flatten(0, 1), repeated))
        return self.log_prob(x.repeat(num, 1, 1, 1), output).unflatten(0, (num, -1))

    def terms(self, x: Tensor, y: Tensor | None, epsilon: Tensor) -> Terms:
        """One forward pass of observed images (N, C, H, W) with noise (N, d)."""
        mean, logvar = self.posterior(x, y)
        z = mean + (0.5 * logvar).exp() * epsilon
        distortion = -self.log_prob(x, self.decoder(self.with_one_hot(z, y)))
        if self.config.prior == "normal":
            rate = kl_to_standard_normal(mean, logvar).sum(1)
        else:
            rate = normal_log_prob(z, mean, logvar) - self.prior_log_prob(z)
        return Terms(mean, logvar, z, rate, distortion)

    def posterior(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (N, d) of q(z | x), in the present mode."""
        output = self.encoder(self.with_label_plane(x, y))
        mean, logvar = output.float().chunk(2, dim=1)
        return mean, logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) of (..., d), nats, shape (...)."""
        if self.config.prior == "normal":
            return standard_normal_log_prob(z)
        mixture = mixture_log_prob(z.flatten(0, -2), *self._pseudo_posteriors())
        return mixture.unflatten(0, z.shape[:-1])

    def _pseudo_posteriors(self) -> tuple[Tensor, Tensor]:
        return self.posterior(nn.functional.hardtanh(self.pseudo_inputs, 0.0, 1.0), None)

    def fit_sampler(self, images: Images, rng: torch.Generator) -> None:
        """Fits the mixture, where there is one, to a posterior draw of each training image."""
        if self.config.sampler == "gmm":
            kept = torch.randperm(len(images.x), generator=rng, device=rng.device)[:MAX_CODES]
            x, y = images.at(kept)
            self.mixture.fit(self.score(x, y, rng).z, rng.initial_seed(), y)

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, d) draws from the prior, or from the mixture, which is that of the labels."""
        if self.config.sampler == "gmm":
            return self.mixture.sample(n, rng, labels)
        noise = super().sample_latent(n, rng, labels)
        if self.config.prior == "normal":
            return noise
        with evaluation_mode(self):
            means, logvars = self._pseudo_posteriors()
        chosen = torch.randint(len(means), (n,), generator=rng).to(self.device)
        return means[chosen] + (0.5 * logvars[chosen]).exp() * noise

    @property
    def unit_normal_prior(self) -> bool:
        """Whether p(z) is N(0, I), wherever samples come from."""
        return self.config.prior == "normal"

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The posterior's mean and deviation, each (N, latent_dim).

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Binarisation noise.
            labels: (N,) classes, for a conditional model.
        """
        mean, logvar = self.encode(self.observe(x, self.pixel_noise(x, rng)), labels)
        return mean, (0.5 * logvar).exp()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to the posterior's mean and log-variance, each (N, latent_dim)."""
        with evaluation_mode(self):
            return self.posterior(x, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, latent_dim) to the likelihood's mean (N, C, H, W) in [0, 1]: no draws."""
        with evaluation_mode(self):
            return self.likelihood.mean(self.decoder(self.with_one_hot(z, labels)))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the posterior mean of the images as they are, (N, C, H, W) in [0, 1].

        A model of binarised images sees the grey ones here: their expectation, so that the
        reconstruction is no lottery.
        """
        return self.decode(self.encode(x, labels)[0], labels)


def averages(terms: Terms) -> dict[str, Tensor]:
    """Distortion, rate and ELBO of a batch, for the log."""
    distortion, rate = terms.distortion.detach().mean(), terms.rate.detach().mean()
    return {"distortion": distortion, "rate": rate, "elbo": -(distortion + rate)}


def active_units(mean: Tensor) -> Tensor:
    """How many dimensions of the posterior means (N, d) vary over the images; a scalar.

    Burda et al. 2016, section 5.2: the variance of the mean is above 0.01. At least some hundred
    images make it a number to quote.
    """
    return (mean.var(0) > ACTIVE_ABOVE).sum()
