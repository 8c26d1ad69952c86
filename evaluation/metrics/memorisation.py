"""Copies of training images, in features: distances to the train split, against held-out images.

`ct` is a z score of the distances to the train set relative to those of held-out images; copies are
far below 0. `authpct` is the share of images that are farther from their nearest train image than
that image is from its nearest train image; compare it with the value of held-out images.
`copy_share` is the share of images closer to the train set than the nearest 1 % of the held-out
images; perfect samples have 0.01. Treat a model as suspicious only if the values in pixels
(`memorisation_pixel`) agree.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.memorisation import baseline, measure, specs
from evaluation.measuring.metric import Measurement, Metric
from evaluation.measuring.protocols import Sampler

SUFFIX = "{extractor}"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.sample_features
    assert not isinstance(context.extractor, MissingExtractor)  # the line above has raised
    known = context.cached(
        ("memorisation", context.extractor.sha256),
        lambda: baseline(
            context.real_features(context.train), context.reference_features, context.seeds.metric
        ),
    )
    return measure(generated, known, SUFFIX)


# One set of samples: a mean of several z scores is no z score.
METRIC = Metric("memorisation", (Sampler,), specs(SUFFIX), _compute, every_set=False)
