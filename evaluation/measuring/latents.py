"""What the metrics of a latent space share: which posteriors and which labels they may look at."""

from torch import Tensor

from evaluation.measuring.context import Context, RealImages, UnavailableError
from evaluation.measuring.protocols import Encoder, is_conditional


def unit_posterior(context: Context) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (num, d) of q(z | x), float64, of the reference images.

    Raises:
        UnavailableError: The encoder is deterministic, or the prior is not N(0, I): then a
            dimension has neither a scale of its own nor a divergence from the prior.
    """
    assert isinstance(context.model, Encoder)
    mean, std = context.posterior(context.reference)
    if std is None:
        raise UnavailableError("deterministic_encoder")
    if not context.model.unit_normal_prior:
        raise UnavailableError("no_unit_normal_prior")
    return mean, std


def unseen_labels(context: Context, real: RealImages) -> Tensor:
    """(N,) classes of real images, which the encoder has not been told.

    Raises:
        UnavailableError: There are none, or the encoder is told them: whatever its latents say
            of the class, it may have copied.
    """
    if real.labels is None:
        raise UnavailableError("no_labels")
    if is_conditional(context.model):
        raise UnavailableError("label_is_given")
    return real.labels
