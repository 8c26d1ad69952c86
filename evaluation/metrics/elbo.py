"""Evidence lower bound: -(rate + distortion) in nats per image, the mean over images.

One posterior draw per image, at beta = 1 independently of the training objective. Values of
different observation models are not comparable, and neither are bounds of p(x) and of p(x | class);
`params` has the likelihood. Null for Bernoulli on grey pixels, which bounds no likelihood.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure, mean_over_images
from evaluation.measuring.protocols import LikelihoodBound, likelihood_of


def _compute(context: Context) -> dict[str, float | Measurement]:
    assert isinstance(context.model, LikelihoodBound)
    observation = likelihood_of(context.model)
    if context.model.observation == "bernoulli_grey":
        return {"elbo": failure("no_likelihood", observation=observation)}
    rate, distortion = context.rate_distortion
    return {
        "elbo": mean_over_images(-(rate + distortion), context, observation=observation, draws=1)
    }


METRIC = Metric("elbo", (LikelihoodBound,), (ValueSpec("elbo", "nats/image", True),), _compute)
