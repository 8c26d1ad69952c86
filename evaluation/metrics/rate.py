"""Rate: KL(q(z|x) || p(z)) in nats per image, the mean over images.

A diagnostic without direction. One posterior draw per image, at beta = 1 independently of the
training objective. Values of different observation models are not comparable, and neither are
values of conditional and unconditional models; `params` has the likelihood.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.measuring.protocols import LikelihoodBound, likelihood_of


def _compute(context: Context) -> dict[str, float | Measurement]:
    assert isinstance(context.model, LikelihoodBound)
    rate, _ = context.rate_distortion
    observation = likelihood_of(context.model)
    return {"rate": mean_over_images(rate, context, observation=observation, draws=1)}


METRIC = Metric("rate", (LikelihoodBound,), (ValueSpec("rate", "nats/image", None),), _compute)
