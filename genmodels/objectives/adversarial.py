"""The GAN games on raw logits: positive means "real", no sigmoid anywhere."""

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
    """What the two players minimise, pair by pair of a real and a generated image.

    Attributes:
        discriminator: Logits on real and on generated images, each (N,), to (N,).
        generator: The same. Unless `relativistic`, it does not look at the real logits.
        boundary: The logit that is neither real nor generated; None where a constant added to all
            logits changes nothing, so that only differences mean something.
        probabilistic: Whether the best logit is the log-odds of "real".
        relativistic: Whether the generator's loss depends on the real logits.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    boundary: float | None
    probabilistic: bool = False
    relativistic: bool = False

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The share of right answers, a scalar.

        Mean over both kinds of images of being on the right side of the boundary; without one, the
        share of pairs in which the real image (N,) has the larger logit.
        """
        if self.boundary is None:
            return (real > fake).float().mean()
        right = torch.cat([real >= self.boundary, fake < self.boundary])
        return right.float().mean()


LOSSES: Mapping[LossName, AdversarialLoss] = {
    # Goodfellow et al. 2014, section 3: the generator has strong gradients in a lost game.
    "non_saturating": AdversarialLoss(
        discriminator=lambda real, fake: softplus(-real) + softplus(fake),
        generator=lambda real, fake: softplus(-fake),
        boundary=0.0,
        probabilistic=True,
    ),
    # Goodfellow et al. 2014, Eq. 1: one value, which the players push in opposite directions.
    "minimax": AdversarialLoss(
        discriminator=lambda real, fake: softplus(-real) + softplus(fake),
        generator=lambda real, fake: -softplus(fake),
        boundary=0.0,
        probabilistic=True,
    ),
    # Mao et al. 2017, Eq. 9: real images are to have 1, generated ones 0.
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
    # Arjovsky et al. 2017: the discriminator is a critic whose slope something else must bound.
    "wasserstein": AdversarialLoss(
        discriminator=lambda real, fake: fake - real,
        generator=lambda real, fake: -fake,
        boundary=None,
    ),
    # Jolicoeur-Martineau 2018; Huang et al. 2024: is the real image more real than its partner?
    "relativistic": AdversarialLoss(
        discriminator=lambda real, fake: softplus(fake - real),
        generator=lambda real, fake: softplus(real - fake),
        boundary=None,
        relativistic=True,
    ),
}
