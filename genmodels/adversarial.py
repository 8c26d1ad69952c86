"""The GAN game on raw logits: positive means "real", no sigmoid anywhere."""

import torch.nn.functional as F
from torch import Tensor


def non_saturating_discriminator(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)) (Goodfellow et al. 2014, Eq. 1).

    Args:
        logits_real: (N,) on real images.
        logits_fake: (N,) on generated images.

    Returns:
        The mean, nats; 2 log 2 at zero logits.
    """
    return F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()


def non_saturating_generator(logits_fake: Tensor) -> Tensor:
    """-log sigmoid(fake) (Goodfellow et al. 2014, section 3): strong gradients from a lost game.

    Args:
        logits_fake: (N,) on generated images.

    Returns:
        The mean, nats; log 2 at zero logits.
    """
    return F.softplus(-logits_fake).mean()
