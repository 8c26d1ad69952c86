"""What a model must offer to be measured: structural, so that no base class is asked for.

A metric names the protocols that it requires; a model that lacks one gets a null record with the
reason `not_supported`. All images are float32 (N, C, H, W) in [0, 1].

A model with an attribute `conditional` that is True is told the classes, too: each method below
gets `labels=`, (N,) int64 from 0, one for each image asked for or given. Any other model gets no
such argument. Where the real images have no labels, what needs them is null with the reason
`no_labels`.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

#: The observation models that a likelihood can be one of.
OBSERVATIONS = (
    "bernoulli_binary",
    "bernoulli_grey",
    "continuous_bernoulli",
    "gaussian",
    "discretised",
    "dequantised",
)

#: Behind an observation model's name where the likelihood is that of images given their classes.
GIVEN_CLASS = "_given_class"

#: The likelihoods that `likelihood_of` tells apart: values of two of them do not compare.
LIKELIHOODS = (*OBSERVATIONS, *(f"{name}{GIVEN_CLASS}" for name in OBSERVATIONS))


def is_conditional(model: object) -> bool:
    """Whether a model's methods take `labels`."""
    return getattr(model, "conditional", False) is True


@runtime_checkable
class Sampler(Protocol):
    """Draws images."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, C, H, W) in [0, 1]; the same generator state gives the same images."""
        ...


@runtime_checkable
class Conditional(Protocol):
    """Can be asked for images of a class.

    Attributes:
        conditional: Whether it is told the classes; where it is False, what needs the classes that
            samples were drawn for is null with the reason `not_conditional`.
    """

    conditional: bool


@runtime_checkable
class Labelled(Protocol):
    """Deals images whose classes are known without asking for them.

    Attributes:
        image_labels: (N,) int64 of the images in the order they are dealt in; None if unknown.
    """

    image_labels: Tensor | None


@runtime_checkable
class Reconstructor(Protocol):
    """Encodes images and decodes them again."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoder's mean at the posterior mean, (N, C, H, W) in [0, 1]."""
        ...


@runtime_checkable
class LikelihoodBound(Protocol):
    """Bounds the log-likelihood from below.

    Attributes:
        observation: The observation model's name: `bernoulli_binary` (mass on 2 levels),
            `bernoulli_grey` (cross-entropy, no likelihood), `continuous_bernoulli` (density of
            undequantised grey pixels on [0, 1]), `gaussian` (density of undequantised pixels),
            `discretised` (mass on 256 levels) or `dequantised` (density of (u + U[0, 1)) / 256).
    """

    observation: str

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rate KL(q(z|x) || p(z)) and distortion -E_q log p(x|z), each (N,) in nats per image.

        Sums over the image at beta = 1, whatever the training objective was. Called once with all
        images: the model cuts them into batches itself, after it has drawn its noise, so that no
        value depends on the batch size.
        """
        ...


@runtime_checkable
class ImportanceBound(Protocol):
    """Weighs draws from its posterior: a bound that tightens with their number.

    A posterior that is all on one point has no use for a second draw, and its model is none.

    Attributes:
        observation: As of `LikelihoodBound`.
    """

    observation: str

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator
    ) -> Iterator[Tensor]:
        """Log p(x, z_k) - log q(z_k | x) of draws z_k from q(z | x), nats.

        Called once with all images. Blocks (k, N) of k draws for each image, as many as fit into
        memory, whose k sum up to `num_importance`; no value depends on how they are cut.
        """
        ...


def likelihood_of(model: LikelihoodBound | ImportanceBound) -> str:
    """Which of `LIKELIHOODS` a model bounds.

    Of K classes, log p(x | y) exceeds log p(x) by up to ln K nats: what the label tells about an
    image is no merit of the model.
    """
    return f"{model.observation}{GIVEN_CLASS if is_conditional(model) else ''}"


@runtime_checkable
class Encoder(Protocol):
    """Maps images to latents.

    Attributes:
        unit_normal_prior: Whether p(z) is N(0, I) and q(z | x) a Gaussian with independent
            dimensions, so that KL(q(z | x) || p(z)) is known in closed form for each of them.
    """

    unit_normal_prior: bool

    def latent_posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation (N, d) of q(z | x); no deviation of a deterministic code.

        The generator is for a model that binarises its pixels, which it does in order, image by
        image, first of all: it then sees what it sees in `rate_distortion`.
        """
        ...


@runtime_checkable
class Discriminator(Protocol):
    """Tells real images from generated ones.

    Attributes:
        probabilistic: Whether the scores are logits of P(real), which only the logistic losses
            train; the scores of hinge, least-squares, relativistic and Wasserstein losses are not.
    """

    probabilistic: bool

    def discriminate(self, x: Tensor) -> Tensor:
        """(N,) scores, higher for real."""
        ...
