"""Copies of training images, in pixels: the values of `memorisation` without an extractor.

A smooth image is close to everything in pixels: a blur scores as a copy here and as the opposite in
features. Suspicious is only what is so in both. Of one set of samples, since the search through the
train split's pixels is slow.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.memorisation import baseline, measure, specs
from evaluation.measuring.metric import Measurement, Metric
from evaluation.measuring.protocols import Sampler

SUFFIX = "pixel"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.samples
    known = baseline(context.train.images, context.reference.images, context.seeds.metric)
    return measure(generated, known, SUFFIX)


METRIC = Metric("memorisation_pixel", (Sampler,), specs(SUFFIX), _compute, every_set=False)
