import math

import pytest
import torch

from evaluation.measuring.protocols import LIKELIHOODS
from evaluation.metrics import bits_per_dim, distortion, elbo, iwae_nll, rate


def test_minus_elbo_is_rate_plus_distortion(make_context, model) -> None:
    context = make_context(model)
    values = {
        m.METRIC.name: m.METRIC.compute(context)[m.METRIC.name].value
        for m in (elbo, rate, distortion)
    }
    assert -values["elbo"] == pytest.approx(values["rate"] + values["distortion"], rel=1e-10)


def test_the_interval_holds_the_mean_and_the_observation_model_is_named(
    make_context, model
) -> None:
    measured = elbo.METRIC.compute(make_context(model))["elbo"]
    assert measured.interval["low"] < measured.value < measured.interval["high"]
    assert measured.params["observation"] == "bernoulli_binary"


@pytest.mark.parametrize("metric", [elbo, iwae_nll, rate, distortion, bits_per_dim])
def test_a_likelihood_given_the_class_is_another_one(
    make_context, model, make_conditional, metric
) -> None:
    name = metric.METRIC.name
    alone, told = (
        metric.METRIC.compute(make_context(one))[name].params["observation"]
        for one in (model, make_conditional())
    )
    assert (alone, told) == ("bernoulli_binary", "bernoulli_binary_given_class")
    assert {alone, told} <= set(LIKELIHOODS)


def test_a_uniform_model_of_256_levels_takes_eight_bits() -> None:
    nll = torch.full((3,), 100 * math.log(256), dtype=torch.float64)
    assert bits_per_dim.bits_per_dim(nll, 100).tolist() == pytest.approx([8, 8, 8], rel=1e-14)


def test_a_uniform_density_of_dequantised_pixels_takes_eight_bits() -> None:
    nll = torch.zeros(2, dtype=torch.float64)
    assert bits_per_dim.bits_per_dim(nll, 100, 8.0).tolist() == [8, 8]


@pytest.mark.parametrize(
    ("observation", "levels", "added"),
    [("bernoulli_binary", 2, 0), ("discretised", 256, 0), ("dequantised", 256, 8)],
)
def test_bits_name_the_levels_that_they_code(
    make_context, make_model, observation: str, levels: int, added: int
) -> None:
    context = make_context(make_model(observation))
    measured = bits_per_dim.METRIC.compute(context)["bits_per_dim"]
    nats = -elbo.METRIC.compute(context)["elbo"].value
    assert measured.value == pytest.approx(nats / (144 * math.log(2)) + added, rel=1e-12)
    assert measured.params["levels"] == levels


def test_a_cross_entropy_of_grey_pixels_is_no_bound(make_context, make_model) -> None:
    measured = elbo.METRIC.compute(make_context(make_model("bernoulli_grey")))["elbo"]
    assert (measured.value, measured.reason) == (None, "no_likelihood")


@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        ("bernoulli_grey", "no_likelihood"),
        ("continuous_bernoulli", "undequantised_density"),
        ("gaussian", "undequantised_density"),
    ],
)
def test_what_codes_no_pixels_has_no_bits(
    make_context, make_model, observation: str, reason: str
) -> None:
    measured = bits_per_dim.METRIC.compute(make_context(make_model(observation)))["bits_per_dim"]
    assert (measured.value, measured.reason) == (None, reason)
