"""Distortion: -E_q log p(x|z) in nats per image, the mean over images.

One posterior draw per image, at beta = 1 independently of the training objective. Values of
different observation models are not comparable, and neither are values of p(x | z) and of
p(x | z, class); `params` has the likelihood.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, mean_over_images
from evaluation.measuring.protocols import LikelihoodBound, likelihood_of


def _compute(context: Context) -> dict[str, float | Measurement]:
    assert isinstance(context.model, LikelihoodBound)
    _, distortion = context.rate_distortion
    observation = likelihood_of(context.model)
    return {"distortion": mean_over_images(distortion, context, observation=observation, draws=1)}


METRIC = Metric(
    "distortion", (LikelihoodBound,), (ValueSpec("distortion", "nats/image", False),), _compute
)
