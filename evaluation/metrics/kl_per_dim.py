"""How much each latent dimension carries: KL(q(z_d | x) || p(z_d)), the mean over images, in nats.

The value is that of the dimension that carries most: beside the rate, which is the sum, it says
whether a few dimensions carry all. `params` has the sum and every dimension, from most to least; a
collapsed one has 0. In closed form for a Gaussian posterior with independent dimensions and the
prior N(0, I) (Kingma & Welling 2014, arXiv 1312.6114, appendix B), null for any other.
The posteriors are those of `rate`: a model that binarises pixels does so with the same draws.
"""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.latents import unit_posterior
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder

NAME = "kl_per_dim_max"


def kl_to_unit_normal(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)) element by element, nats, float64.

    Args:
        mean: Any shape.
        std: Of the same shape, above 0; infinite at 0.
    """
    mean, variance = mean.double(), std.double().square()
    return 0.5 * (mean.square() + variance - 1 - variance.log())


def _compute(context: Context) -> dict[str, float | Measurement]:
    each = kl_to_unit_normal(*unit_posterior(context)).mean(0)
    ranked, dimensions = each.sort(descending=True, stable=True)
    params = {
        "kl_per_dim": ranked.tolist(),
        "dimensions": dimensions.tolist(),
        "sum": each.sum().item(),
    }
    return {NAME: Measurement(ranked[0].item(), params)}


METRIC = Metric("kl_per_dim", (Encoder,), (ValueSpec(NAME, "nats/image", None),), _compute)
