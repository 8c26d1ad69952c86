"""The contract of every file in `evaluation/metrics/`; new files are included automatically."""

import importlib
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluation import metrics as registry
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import Classifier, Extractor, MissingExtractor
from evaluation.measuring.metric import Measurement, Metric
from evaluation.measuring.protocols import (
    Conditional,
    Discriminator,
    Encoder,
    ExPostSampler,
    GaussianCodes,
    ImportanceBound,
    LikelihoodBound,
    Reconstructor,
    Sampler,
)
from evaluation.runner import Settings, evaluate

NAMES = registry.available()
UNITS = {
    "nats/image",
    "bits/dim",
    "dB",
    "fraction",
    "ratio",
    "z",
    "raw",
    "percent of real feature variance",
}


@pytest.fixture(params=NAMES)
def metric(request) -> Metric:
    return registry.load_metric(request.param)


@pytest.fixture
def extractor() -> Extractor:
    """Two features only, because 30 images are too few to extrapolate a distance of more."""
    shape = (1, 12, 12)
    network = Classifier(shape, num_classes=4, width=4, num_features=2)
    network.initialise(torch.Generator().manual_seed(1))
    return Extractor(network, image_shape=shape, num_classes=4, width=4, num_features=2, scale=10.0)


@pytest.fixture
def make_capable(metric, make_model, make_conditional):
    """The class of a model that implements the protocols of the metric."""
    return make_conditional if Conditional in metric.requires else make_model


@pytest.fixture
def capable(make_capable):
    return make_capable()


@pytest.fixture
def judge(reference, train, valid, extractor):
    def run(model: object, name: str, **changed):
        settings = Settings(Seeds(train=0, sample=1, metric=2), max_samples=30, batch_size=16)
        arguments = {"reference": reference, "train": train, "valid": valid}
        arguments |= {"extractors": [extractor]} | changed
        return evaluate(model, [name], settings=settings, **arguments).records

    return run


def test_there_are_metrics() -> None:
    assert {"fid", "kid", "elbo", "mse"} <= set(NAMES)


def test_a_metric_has_the_name_of_its_file_and_a_docstring(metric) -> None:
    module = importlib.import_module(f"evaluation.metrics.{metric.name}")
    assert module.METRIC is metric
    assert module.__doc__


def test_a_metric_is_described_completely(metric) -> None:
    assert metric.requires
    assert set(metric.requires) <= {
        Sampler,
        Conditional,
        Reconstructor,
        LikelihoodBound,
        ImportanceBound,
        Encoder,
        Discriminator,
        GaussianCodes,
        ExPostSampler,
    }
    assert metric.values
    for spec in metric.values:
        assert re.fullmatch(r"[a-z0-9_]+", spec.name.format(extractor="classifier"))
        assert spec.unit.format(extractor_unit="raw") in UNITS
        assert spec.higher_is_better in {True, False, None}


def test_a_metric_uses_the_extractor_for_all_of_its_values_or_for_none(metric) -> None:
    assert {spec.uses_extractor for spec in metric.values} == {metric.uses_extractor}


def test_value_names_are_unique_over_all_metrics() -> None:
    names = [spec.name for name in NAMES for spec in registry.load_metric(name).values]
    assert len(names) == len(set(names))


def test_a_capable_model_gets_every_value_as_legal_json(metric, judge, capable) -> None:
    records = judge(capable, metric.name)
    assert len(records) == len(metric.values)
    for record in records:
        assert record.reason is None
        assert math.isfinite(record.value)
        assert record.unit
        assert record.n_real == 30
        assert json.loads(json.dumps(record.to_dict(), allow_nan=False)) == record.to_dict()


def test_a_model_that_can_do_nothing_gets_nulls_with_a_reason(metric, judge) -> None:
    records = judge(object(), metric.name)
    assert len(records) == len(metric.values)
    assert {(record.value, record.reason) for record in records} == {(None, "not_supported")}


def test_equal_seeds_give_equal_records_and_leave_the_global_state_alone(
    metric, judge, capable
) -> None:
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = judge(capable, metric.name), judge(capable, metric.name)
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    assert capable.training
    assert capable.noise.training


def test_a_model_of_nans_gets_nulls_with_a_reason(metric, judge, make_capable) -> None:
    class Broken(make_capable):
        def sample(self, n, rng, **labels):
            return super().sample(n, rng, **labels) * torch.nan

        def reconstruct(self, x, **labels):
            return super().reconstruct(x, **labels) * torch.nan

        def rate_distortion(self, x, rng, **labels):
            rate, distortion = super().rate_distortion(x, rng, **labels)
            return rate * torch.nan, distortion

        def importance_log_weights(self, x, num_importance, rng, **labels):
            for block in super().importance_log_weights(x, num_importance, rng, **labels):
                yield block * torch.nan

        def latent_posterior(self, x, rng, **labels):
            mean, std = super().latent_posterior(x, rng, **labels)
            return mean * torch.nan, std

        def posterior_codes(self, x, rng, **told):
            mean, logvar, z = super().posterior_codes(x, rng, **told)
            return mean, logvar, z * torch.nan

    for record in judge(Broken(), metric.name):
        assert record.value is None
        assert record.reason.startswith("non_finite")


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_give_a_value_or_a_null_with_a_reason(
    metric, judge, capable, reference, n: int
) -> None:
    for record in judge(capable, metric.name, reference=reference.first(n)):
        # One image has a mean, but no variance and no distance.
        if Sampler in metric.requires or n == 0 or record.value is None:
            assert (record.value, record.reason) == (None, "too_few_samples")
        else:
            assert math.isfinite(record.value)


def test_a_conditional_model_gets_every_value(metric, judge, make_conditional, model) -> None:
    conditional = judge(make_conditional(), metric.name)
    if Conditional in metric.requires:
        assert {record.reason for record in conditional} == {None}
    elif {record.reason for record in conditional} == {"label_is_given"}:
        assert Encoder in metric.requires  # a conditional encoder may copy the class
    else:
        # The toy model ignores the labels, so its values equal those of the unconditional model.
        # Only p-values differ, because labels are permuted within classes.
        unconditional = judge(model, metric.name)
        assert [(r.name, r.value, r.reason) for r in conditional] == [
            (r.name, r.value, r.reason) for r in unconditional
        ]


def test_values_that_need_classes_are_null_for_an_unconditional_model(
    metric, judge, make_model
) -> None:
    class Unconditional(make_model):
        conditional = False

    reasons = {record.reason for record in judge(Unconditional(), metric.name)}
    assert reasons == {"not_conditional" if Conditional in metric.requires else None}


def test_a_conditional_model_of_images_without_labels_gets_nulls_with_the_reason(
    metric, judge, make_conditional, reference, train
) -> None:
    bare = {"reference": replace(reference, labels=None), "train": replace(train, labels=None)}
    for record in judge(make_conditional(), metric.name, **bare):
        assert (record.value, record.reason) == (None, "no_labels")


def test_without_an_extractor_its_values_are_null_and_keep_their_names(
    metric, judge, capable
) -> None:
    missing = [MissingExtractor("classifier", "no_extractor")]
    for record in judge(capable, metric.name, extractors=missing):
        assert record.extractor is None
        if record.name.endswith("_classifier"):
            assert (record.value, record.reason) == (None, "no_extractor")
        else:
            assert record.reason is None


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown metric 'fidd', did you mean 'fid'"):
        registry.load_metric("fidd")


def test_a_metric_may_return_plain_numbers() -> None:
    assert Measurement(1.0) == Measurement(1.0, {}, None, None)
