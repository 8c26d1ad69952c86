"""Copies of training images, in pixels: the values of `memorisation` without an extractor.

A smooth image is close to all images in pixels: blurred images look like copies here and like the
opposite in features. Treat a model as suspicious only if both agree. Computed on one set of
samples, because the search in the pixels of the train split is slow.
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
