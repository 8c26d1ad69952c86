"""Frechet distances of samples whose codes come from a density fitted after the training.

The decoder is the model's own. The codes come from N(0, I), from one Gaussian or from a mixture of
ten Gaussians, fitted to the codes of the training images (Ghosh et al. 2020, arXiv 1903.12436,
table 1). Samples and distance are computed as in `fid`.
"""

import functools

from evaluation.measuring import model_calls
from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import ExPostSampler, Sampler
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import fid

NORMAL = "fid_standard_normal_{extractor}"
#: Number of mixture components by value name.
MIXTURES = {"fid_gmm_1_{extractor}": 1, "fid_gmm_10_{extractor}": 10}


def _compute(context: Context) -> dict[str, float | Measurement]:
    model, train = context.model, context.train
    assert isinstance(model, ExPostSampler)
    if context.num < 2 or not len(train.images):
        raise UnavailableError("too_few_samples")
    context.require_extractor()
    samplers: dict[str, Sampler] = {NORMAL: model.with_normal_codes()}
    arguments = model_calls.label_arguments(model, train.labels)
    x, seed = train.images.to(model_calls.device_of(model)), context.seeds.train or 0
    for name, components in MIXTURES.items():
        samplers[name] = context.cached(
            ("mixture", components),
            functools.partial(model.with_mixture, components, x, seed, **arguments),
        )
    return {
        name: fid.METRIC.compute(context.of(sampler))[fid.NAME]
        for name, sampler in samplers.items()
    }


METRIC = Metric(
    "fid_ex_post",
    (ExPostSampler, Sampler),
    tuple(ValueSpec(name, "{extractor_unit}", False, 0.0) for name in (NORMAL, *MIXTURES)),
    _compute,
)
