"""Frechet distance of features (Heusel et al. 2017), in percent of the real feature variance.

The bias is proportional to 1/n, so values at different n are not comparable. `params` has the part
of the means, the part of the covariances, and as `iid_floor` the expected value of two sets of real
images of this size.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from evaluation.measuring.protocols import Sampler

NAME = "fid_{extractor}"


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, reference = context.sample_features, context.reference_features
    assert not isinstance(context.extractor, MissingExtractor)  # the line above has raised
    mean_part, covariance_part = frechet_parts(reference, generated)
    n, d = generated.shape
    floor = context.cached(
        ("frechet floor", context.extractor.sha256),
        lambda: frechet_floor(covariance(reference), n, n),
    )
    params = {
        "mean_part": mean_part,
        "covariance_part": covariance_part,
        "iid_floor": floor,
        # Valid, because the computation is exact for any rank, but the value is mostly bias.
        "rank_deficient": n <= d,
    }
    return {NAME: Measurement(mean_part + covariance_part, params)}


METRIC = Metric(
    "fid",
    (Sampler,),
    (ValueSpec(NAME, "{extractor_unit}", False, 0.0),),
    _compute,
    replicated=True,
)
