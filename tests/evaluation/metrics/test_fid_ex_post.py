"""Distances of samples from other densities of the codes."""

from evaluation.metrics import fid
from evaluation.metrics.fid_ex_post import METRIC
from tests.conftest import presets, small_model


def test_each_density_has_the_distance_of_its_own_samples(make_context):
    model = small_model(presets()["vae"])
    context = make_context(model)
    values = {name: one.value for name, one in METRIC.compute(context).items()}
    own = fid.METRIC.compute(make_context(model))[fid.NAME].value
    assert values["fid_standard_normal_{extractor}"] == own  # the prior of this model
    mixture = model.with_mixture(1, context.train.images, 0)
    one = fid.METRIC.compute(make_context(mixture))[fid.NAME].value
    assert values["fid_gmm_1_{extractor}"] == one != own
