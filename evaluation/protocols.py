"""What a model must offer to be measured: structural, so that no base class is asked for.

A metric names the protocols that it requires; a model that lacks one gets a null record with the
reason `not_supported`. All images are float32 (N, C, H, W) in [0, 1].

A model with an attribute `conditional` that is True is told the classes, too: each method below
gets `labels=`, (N,) int64 from 0, one for each image asked for or given. Any other model gets no
such argument. Where the real images have no labels, what needs them is null with the reason
`no_labels`.
"""

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
