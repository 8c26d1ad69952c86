"""Evidence lower bound: -(rate + distortion) in nats per image, the mean over images.

One posterior draw per image, at beta = 1 whatever was trained. Values of different observation
models are not comparable, nor are those with and without the class given, so `params` says what it
is the likelihood of. Bernoulli on grey pixels bounds no likelihood: null.
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
