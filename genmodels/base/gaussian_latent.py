"""The distributions of a continuous VAE: q(z | x), p(z) and p(x | z)."""

import torch
from torch import Tensor, nn

from genmodels import networks
from genmodels.base.ex_post import ExPostModel
from genmodels.base.model import Images, evaluation_mode, normal
from genmodels.base.samplers import MixtureSampler
from genmodels.base.vae_config import VAEConfig
from genmodels.networks.shape import ImageShape
from genmodels.objectives.priors import mixture_log_prob, standard_normal_log_prob

LOGVAR_BOUND = 10.0
#: Standard deviation of the noise on the training images that initialise the pseudo-inputs.
PSEUDO_INPUT_NOISE = 0.01


class GaussianLatentModel(ExPostModel):
    """q(z | x) = N(mean, diag exp(logvar)), prior p(z), decoder p(x | z).

    Kingma & Welling 2014 (arXiv 1312.6114). A conditional model is p(x | class): encoder and
    decoder get the class as an input, and the likelihood is conditional on it.

    There is no batch norm, because the objective of an image must not depend on the other images
    of its batch.
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
        """Draws all weights.

        The decoder and sigma start at the mean image, the pseudo-inputs at training images with
        noise.
        """
        self.draw_networks(rng)
        self.start_decoder(self.decoder, images)
        if self.config.num_pseudo_inputs:
            rows = torch.randint(len(images.x), (self.config.num_pseudo_inputs,), generator=rng)
            noise = normal(self.pseudo_inputs.shape, rng, self.device)
            start = images.x[rows.to(images.x.device)] + PSEUDO_INPUT_NOISE * noise
            # Inside (0, 1), because the clipping has no gradient outside.
            self.pseudo_inputs = nn.Parameter(start.clamp(0.001, 0.999))

    def posterior(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (N, d) of q(z | x), in the current mode."""
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

    def log_likelihood(self, x: Tensor, y: Tensor | None, z: Tensor) -> Tensor:
        """Log p(x | z_k), (K, N) nats, of x (N, C, H, W) at z (K, N, d)."""
        num = len(z)
        repeated = None if y is None else y.repeat(num)
        output = self.decoder(self.with_one_hot(z.flatten(0, 1), repeated))
        return self.log_prob(x.repeat(num, 1, 1, 1), output).unflatten(0, (num, -1))

    @property
    def unit_normal_prior(self) -> bool:
        """Whether p(z) is N(0, I), under any sampler."""
        return self.config.prior == "normal"

    def sample_latent(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, d) draws from the prior or, with sampler `gmm`, from the mixture of each label."""
        if self.config.sampler == "gmm":
            return self.mixture.sample(n, rng, labels)
        noise = super().sample_latent(n, rng, labels)
        if self.config.prior == "normal":
            return noise
        with evaluation_mode(self):
            means, logvars = self._pseudo_posteriors()
        components = torch.randint(len(means), (n,), generator=rng).to(self.device)
        return means[components] + (0.5 * logvars[components]).exp() * noise

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The posterior's mean and standard deviation, each (N, latent_dim).

        Args:
            x: (N, C, H, W) in [0, 1].
            rng: Source of the binarisation noise.
            labels: (N,) classes, for a conditional model.
        """
        mean, logvar = self.encode(self.observe(x, self.pixel_noise(x, rng)), labels)
        return mean, (0.5 * logvar).exp()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to the posterior's mean and log-variance, each (N, latent_dim)."""
        with evaluation_mode(self):
            return self.posterior(x, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, d) to the likelihood's mean (N, C, H, W) in [0, 1], without noise."""
        with evaluation_mode(self):
            return self.likelihood.mean(self.decoder(self.with_one_hot(z, labels)))

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Decoder mean at the posterior mean, (N, C, H, W) in [0, 1].

        The encoder gets the grey images even if the model is trained on binarised ones. They are
        the expectation of the binarised images, so the reconstruction is deterministic.
        """
        return self.decode(self.encode(x, labels)[0], labels)
