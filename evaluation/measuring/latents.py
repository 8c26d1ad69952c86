"""Checks that the metrics of a latent space share: which posteriors and labels they may use."""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.protocols import Encoder, is_conditional
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError


def unit_posterior(context: Context) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (num, d) of q(z | x), float64, of the reference images.

    Raises:
        UnavailableError: The encoder is deterministic, or the prior is not N(0, I), so that a
            dimension has no fixed scale and no divergence from the prior.
    """
    assert isinstance(context.model, Encoder)
    mean, std = context.posterior(context.reference)
    if std is None:
        raise UnavailableError("deterministic_encoder")
    if not context.model.unit_normal_prior:
        raise UnavailableError("no_unit_normal_prior")
    return mean, std


def unseen_labels(context: Context, real: RealImages) -> Tensor:
    """(N,) classes of real images that the encoder does not receive as input.

    Raises:
        UnavailableError: The images have no labels, or the encoder receives the labels and may
            copy them into its latents.
    """
    if real.labels is None:
        raise UnavailableError("no_labels")
    if is_conditional(context.model):
        raise UnavailableError("label_is_given")
    return real.labels
