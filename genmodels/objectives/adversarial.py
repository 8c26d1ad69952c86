"""GAN losses on raw logits; a larger logit means "real"."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

LossName = Literal[
    "non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"
]


@dataclass(frozen=True)
class AdversarialLoss:
    """The losses of discriminator and generator, for pairs of a real and a generated image.

    Attributes:
        discriminator: Logits of real and of generated images, each (N,), to losses (N,).
        generator: The same; it ignores the real logits unless `relativistic`.
        boundary: Logit of the decision boundary; None if the loss depends only on differences of
            logits.
        probabilistic: Whether the optimal logit is the log-odds of "real".
        relativistic: Whether the generator's loss depends on the real logits.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    boundary: float | None
    probabilistic: bool = False
    relativistic: bool = False

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """Fraction of correct classifications, a scalar.

        Without a boundary it is the fraction of pairs in which the real image has the larger logit.

        Args:
            real: (N,) logits of real images.
            fake: (N,) logits of generated images.
        """
        if self.boundary is None:
            return (real > fake).float().mean()
        correct = torch.cat([real >= self.boundary, fake < self.boundary])
        return correct.float().mean()


LOSSES: Mapping[LossName, AdversarialLoss] = {
    # Goodfellow et al. 2014, section 3: the generator keeps its gradient if the discriminator wins.
    "non_saturating": AdversarialLoss(
        discriminator=lambda real, fake: softplus(-real) + softplus(fake),
        generator=lambda real, fake: softplus(-fake),
        boundary=0.0,
        probabilistic=True,
    ),
    # Goodfellow et al. 2014, Eq. 1: the generator maximises the discriminator's loss.
    "minimax": AdversarialLoss(
        discriminator=lambda real, fake: softplus(-real) + softplus(fake),
        generator=lambda real, fake: -softplus(fake),
        boundary=0.0,
        probabilistic=True,
    ),
    # Mao et al. 2017, Eq. 9: the target is 1 for real and 0 for generated images.
    "least_squares": AdversarialLoss(
        discriminator=lambda real, fake: 0.5 * ((real - 1).square() + fake.square()),
        generator=lambda real, fake: 0.5 * (fake - 1).square(),
        boundary=0.5,
    ),
    # Lim & Ye 2017, Miyato et al. 2018.
    "hinge": AdversarialLoss(
        discriminator=lambda real, fake: relu(1 - real) + relu(1 + fake),
        generator=lambda real, fake: -fake,
        boundary=0.0,
    ),
    # Arjovsky et al. 2017: needs a penalty, spectral norm or clipping that bounds the slope.
    "wasserstein": AdversarialLoss(
        discriminator=lambda real, fake: fake - real,
        generator=lambda real, fake: -fake,
        boundary=None,
    ),
    # Jolicoeur-Martineau 2018; Huang et al. 2024: only the difference of a pair's logits counts.
    "relativistic": AdversarialLoss(
        discriminator=lambda real, fake: softplus(fake - real),
        generator=lambda real, fake: softplus(real - fake),
        boundary=None,
        relativistic=True,
    ),
}
