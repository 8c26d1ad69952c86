"""The protocols that a model implements to be evaluated; no base class is needed.

A metric lists the protocols that it requires; a model that lacks one gets a null record with the
reason `not_supported`. All images are float32 (N, C, H, W) in [0, 1].

If the attribute `conditional` of a model is True, each method below also gets `labels=`, (N,) int64
from 0, one per image. Other models get no such argument. If the real images have no labels, the
values that need labels are null with the reason `no_labels`.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

#: The observation models of a likelihood; see `LikelihoodBound`.
OBSERVATIONS = (
    "bernoulli_binary",
    "bernoulli_grey",
    "continuous_bernoulli",
    "gaussian",
    "discretised",
    "dequantised",
)

#: Suffix of the observation model if the likelihood is conditioned on the class, log p(x | y).
GIVEN_CLASS = "_given_class"

#: The results of `likelihood_of`; values of different likelihoods are not comparable.
LIKELIHOODS = (*OBSERVATIONS, *(f"{name}{GIVEN_CLASS}" for name in OBSERVATIONS))


def is_conditional(model: object) -> bool:
    """Whether the methods of a model take `labels`."""
    return getattr(model, "conditional", False) is True


@runtime_checkable
class Sampler(Protocol):
    """Draws images."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, C, H, W) in [0, 1]; the same generator state gives the same images."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """Draws images of a requested class.

    Attributes:
        conditional: Whether the methods take `labels`; if False, the values that need the classes
            of the samples are null with the reason `not_conditional`.
    """

    conditional: bool


@runtime_checkable
class Labelled(Protocol):
    """Returns stored images whose classes are known.

    Attributes:
        image_labels: (N,) int64 classes in the order of the images; None if unknown.
    """

    image_labels: Tensor | None


@runtime_checkable
class Reconstructor(Protocol):
    """Encodes and decodes images."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoder's mean at the posterior mean, (N, C, H, W) in [0, 1]."""
        ...


@runtime_checkable
class LikelihoodBound(Protocol):
    """Computes a lower bound of the log-likelihood.

    Attributes:
        observation: The observation model's name: `bernoulli_binary` (mass on 2 levels),
            `bernoulli_grey` (cross-entropy, no likelihood), `continuous_bernoulli` (density of
            undequantised grey pixels on [0, 1]), `gaussian` (density of undequantised pixels),
            `discretised` (mass on 256 levels) or `dequantised` (density of (u + U[0, 1)) / 256).
    """

    observation: str

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rate KL(q(z|x) || p(z)) and distortion -E_q log p(x|z), each (N,) in nats per image.

        Sums over the pixels at beta = 1, independently of the training objective. Called once with
        all images: the model draws its noise first and then splits the images into batches, so
        that no value depends on the batch size.
        """
        ...


@runtime_checkable
class ImportanceBound(Protocol):
    """Computes importance weights of posterior draws; the bound tightens with their number.

    A model with a deterministic posterior does not implement it: all draws would be equal.

    Attributes:
        observation: See `LikelihoodBound`.
    """

    observation: str

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator
    ) -> Iterator[Tensor]:
        """Log weights log p(x, z_k) - log q(z_k | x) of draws z_k from q(z | x), nats.

        Called once with all images. Yields blocks (k, N) of k draws per image that fit into memory;
        the k sum up to `num_importance`, and no value depends on the size of the blocks.
        """
        ...


def likelihood_of(model: LikelihoodBound | ImportanceBound) -> str:
    """The element of `LIKELIHOODS` that a model bounds.

    With K classes, log p(x | y) exceeds log p(x) by up to ln K nats. This gain comes from the
    label, not from the model.
    """
    return f"{model.observation}{GIVEN_CLASS if is_conditional(model) else ''}"


@runtime_checkable
class Encoder(Protocol):
    """Maps images to latents.

    Attributes:
        unit_normal_prior: Whether p(z) is N(0, I) and q(z | x) a Gaussian with independent
            dimensions, so that KL(q(z | x) || p(z)) has a closed form for each dimension.
    """

    unit_normal_prior: bool

    def latent_posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation (N, d) of q(z | x); no deviation for a deterministic code.

        A model that binarises pixels uses `rng` for this first, image by image in order, so that
        the binarised images equal those in `rate_distortion`.
        """
        ...


@runtime_checkable
class GaussianCodes(Protocol):
    """Encodes images as Gaussian posteriors with independent dimensions, under a known prior."""

    def posterior_codes(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance of q(z | x) and one draw of it, each (N, d), of all images."""
        ...

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """(N,) log p(z) of codes (N, d), nats."""
        ...


@runtime_checkable
class ExPostSampler(Protocol):
    """Samples with codes from a density that is fitted after the training."""

    def with_normal_codes(self) -> Sampler:
        """The same decoder with codes from N(0, I)."""
        ...

    def with_mixture(self, num_components: int, x: Tensor, seed: int) -> Sampler:
        """The same decoder with codes from a Gaussian mixture fitted to the codes of images x."""
        ...


@runtime_checkable
class Discriminator(Protocol):
    """Scores images as real or generated.

    Attributes:
        probabilistic: Whether the scores are logits of P(real). True for the logistic losses; False
            for hinge, least-squares, relativistic and Wasserstein losses.
    """

    probabilistic: bool

    def discriminate(self, x: Tensor) -> Tensor:
        """(N,) scores, higher for real images."""
        ...
