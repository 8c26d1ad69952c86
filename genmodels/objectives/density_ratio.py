"""Total correlation as a density ratio, estimated by a critic."""

import torch
import torch.nn.functional as F
from torch import Tensor


def permute_dimensions(z: Tensor, rng: torch.Generator) -> Tensor:
    """Permutes each dimension independently over the codes (Kim & Mnih 2018, Algorithm 1).

    Args:
        z: (N, d) draws from q(z).
        rng: Source of one permutation per dimension.

    Returns:
        (N, d) draws from prod_d q(z_d): the same marginals, independent dimensions.
    """
    keys = torch.rand(z.shape, generator=rng, device=rng.device)
    return z.gather(0, keys.argsort(0).to(z.device))


def density_ratio_loss(logits_joint: Tensor, logits_product: Tensor) -> Tensor:
    """Cross-entropy of a critic that classifies q(z) against prod_d q(z_d).

    Kim & Mnih 2018, Eq. 3. At the minimum the logit is the log-ratio of the two densities, so its
    mean over q(z) is the total correlation.

    Args:
        logits_joint: (N,) logits of draws from q(z).
        logits_product: (N,) logits of draws from prod_d q(z_d).

    Returns:
        Mean in nats; log 2 if all logits are 0.
    """
    return 0.5 * (F.softplus(-logits_joint).mean() + F.softplus(logits_product).mean())
