"""Copies of training images, in features; reference is the train split, baseline the held-out one.

ct is a z score of the distances to the train set, against those of held-out images: far below 0
for copies. authpct is the share of images that keep more distance from their nearest train image
than its nearest train neighbour does, to be read against the value of held-out images. copy_share
is the share of images closer to the train set than all but 1 % of the held-out images: 0.01 for
perfect samples. Suspicious is only what is so in pixels, too (`memorisation_pixel`).
"""

from evaluation.measuring.context import Context
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.memorisation import baseline, measure, specs
from evaluation.measuring.metric import Measurement, Metric
from evaluation.measuring.protocols import Sampler

SUFFIX = "{extractor}"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.sample_features
    assert not isinstance(context.extractor, MissingExtractor)  # it would have no features
    known = context.once(
        ("memorisation", context.extractor.sha256),
        lambda: baseline(
            context.real_features(context.train), context.reference_features, context.seeds.metric
        ),
    )
    return measure(generated, known, SUFFIX)


# One set: the mean of three z scores is none.
METRIC = Metric("memorisation", (Sampler,), specs(SUFFIX), _compute, every_set=False)
