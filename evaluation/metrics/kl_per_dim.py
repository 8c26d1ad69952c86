"""KL per latent dimension, KL(q(z_d | x) || p(z_d)), the mean over images, in nats.

The value is the maximum over the dimensions; compared with the rate, which is the sum, it shows
whether a few dimensions hold all information. `params` has the sum and all dimensions in descending
order; a collapsed dimension has 0. The closed form needs a Gaussian posterior with independent
dimensions and the prior N(0, I) (Kingma & Welling 2014, arXiv 1312.6114, appendix B); null for any
other. The posteriors are those of `rate`: a model that binarises pixels uses the same draws.
"""

from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.latents import unit_posterior
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder

NAME = "kl_per_dim_max"


def kl_to_unit_normal(mean: Tensor, std: Tensor) -> Tensor:
    """Element-wise KL(N(mean, std^2) || N(0, 1)) in nats, float64.

    Args:
        mean: Any shape.
        std: The same shape, > 0; the KL is infinite at 0.
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
