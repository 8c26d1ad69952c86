"""The importance bound against a model whose likelihood is known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from evaluation.measuring.context import Seeds
from evaluation.metrics import elbo, iwae_nll
from evaluation.metrics.iwae_nll import Bounds, bounds
from evaluation.runner import Settings, evaluate
from tests.conftest import presets, small_model
from tests.evaluation.metrics.linear_gaussian import LinearGaussian

#: A posterior that is off by two thirds of its deviation, and too narrow: 0.77 nats below log p(x).
WRONG = {"shift": 0.7, "stretch": 0.9}


def bounds_of(model: LinearGaussian, x: Tensor, k: int, seed: int = 0) -> Bounds:
    return bounds(model.importance_log_weights(x, k, torch.Generator().manual_seed(seed)))


def assert_zero_mean(values: Tensor) -> None:
    """Within four standard errors."""
    error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item()) < 4 * error


def test_with_the_exact_posterior_the_elbo_is_the_likelihood(make_context) -> None:
    model = LinearGaussian()
    real = model.draw(300)
    evidence = model.log_evidence(real.images).mean().item()
    measured = elbo.METRIC.compute(make_context(model, reference=real))["elbo"]
    assert measured.value == pytest.approx(evidence, rel=1e-10)


@pytest.mark.parametrize("k", [1, 120])
def test_with_the_exact_posterior_every_draw_weighs_the_likelihood(k: int) -> None:
    model = LinearGaussian()
    x = model.draw(100).images
    found = bounds_of(model, x, k)
    torch.testing.assert_close(found.log_likelihood, model.log_evidence(x), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.elbo, model.log_evidence(x), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.effective_samples, torch.full((100,), k).double())


def test_with_a_wrong_posterior_the_bound_rises_from_the_elbo_to_the_likelihood(
    make_context,
) -> None:
    model = LinearGaussian(**WRONG)
    real = model.draw(3000)
    lowest = elbo.METRIC.compute(make_context(model, reference=real))["elbo"].value
    rising = [bounds_of(model, real.images, k).log_likelihood.mean().item() for k in (10, 100)]
    ramp = [lowest, *rising, model.log_evidence(real.images).mean().item()]
    assert ramp == sorted(set(ramp))
    assert ramp[-1] - ramp[0] > 0.7


def test_five_thousand_draws_reach_the_likelihood() -> None:
    model = LinearGaussian(**WRONG)
    x = model.draw(1000).images
    found = bounds_of(model, x, 5000).log_likelihood
    assert found.mean().item() == pytest.approx(model.log_evidence(x).mean().item(), abs=0.005)


def test_one_draw_is_the_elbo_in_expectation() -> None:
    model = LinearGaussian(**WRONG)
    x = model.draw(4000).images
    rate, distortion = model.rate_distortion(x, torch.Generator())
    assert_zero_mean(bounds_of(model, x, 1).log_likelihood + rate + distortion)
    assert_zero_mean(bounds_of(model, x, 30).elbo + rate + distortion)


def test_blocks_may_be_cut_in_any_way() -> None:
    log_w = 100 * torch.randn(40, 7, generator=torch.Generator().manual_seed(0)).double()
    whole = bounds([log_w])
    torch.testing.assert_close(whole.log_likelihood, log_w.logsumexp(0) - math.log(40))
    torch.testing.assert_close(whole.elbo, log_w.mean(0))
    for cut in (bounds(log_w.split(1)), bounds(log_w.split(13))):
        for name in ("log_likelihood", "elbo", "effective_samples"):
            one, other = getattr(cut, name), getattr(whole, name)
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_sums_are_float64_whatever_the_model_computes_in() -> None:
    # In float32 the mean would lose what one weight has more than the others.
    log_w = torch.full((4096, 1), -8192.0)
    log_w[0] += 2**-10
    found = bounds(log_w.split(1))
    assert found.elbo.item() == -8192 + 2**-22
    assert found.log_likelihood.dtype == torch.float64


@pytest.mark.parametrize(
    ("weights", "effective"),
    [([1.0, 1.0, 1.0, 1.0], 4.0), ([1.0, 0.0, 0.0], 1.0), ([3.0, 1.0], 1.6)],
)
@pytest.mark.parametrize("offset", [0.0, -3000.0, 3000.0])
def test_the_effective_sample_size_of_known_weights(
    weights: list[float], effective: float, offset: float
) -> None:
    log_w = torch.tensor(weights, dtype=torch.float64)[:, None].log() + offset
    found = bounds([log_w])
    assert found.effective_samples.item() == pytest.approx(effective, rel=1e-11)
    mean_weight = sum(weights) / len(weights)
    assert found.log_likelihood.item() == pytest.approx(math.log(mean_weight) + offset, rel=1e-12)


def test_the_record_tells_how_many_images_and_draws_and_how_tight_it_is(make_context) -> None:
    model = LinearGaussian(**WRONG)
    real = model.draw(iwae_nll.NUM_IMAGES + 100)
    measured = iwae_nll.METRIC.compute(make_context(model, reference=real))["iwae_nll"]
    x = real.images[: iwae_nll.NUM_IMAGES]
    expected = bounds_of(model, x, iwae_nll.NUM_IMPORTANCE, seed=1)
    assert measured.value == pytest.approx(-expected.log_likelihood.mean().item(), rel=1e-12)
    assert measured.interval["low"] < measured.value < measured.interval["high"]
    effective = expected.effective_samples
    assert measured.params == {
        "observation": "gaussian",
        "k": iwae_nll.NUM_IMPORTANCE,
        "elbo": pytest.approx(expected.elbo.mean().item()),
        "effective_samples_median": pytest.approx(effective.quantile(0.5).item()),
        "effective_samples_q05": pytest.approx(effective.quantile(0.05).item()),
    }
    assert -measured.value > measured.params["elbo"]
    assert measured.num == iwae_nll.NUM_IMAGES


def test_a_wider_posterior_wastes_draws(make_context) -> None:
    medians = []
    for stretch in (1.0, 1.5, 2.5, 4.0):
        model = LinearGaussian(stretch=stretch)
        context = make_context(model, reference=model.draw(100))
        params = iwae_nll.METRIC.compute(context)["iwae_nll"].params
        medians.append(params["effective_samples_median"])
    assert medians == sorted(medians, reverse=True)
    assert medians[0] == pytest.approx(iwae_nll.NUM_IMPORTANCE)
    assert medians[-1] < iwae_nll.NUM_IMPORTANCE / 4


def test_a_worse_model_of_the_same_images_has_a_higher_nll(make_context) -> None:
    real = LinearGaussian().draw(200)
    values = []
    for scale in (1.0, 1.3, 1.7, 2.2):
        context = make_context(LinearGaussian(scale=scale), reference=real)
        values.append(iwae_nll.METRIC.compute(context)["iwae_nll"].value)
    assert values == sorted(set(values))


def test_a_cross_entropy_of_grey_pixels_is_no_bound(make_context, make_model) -> None:
    measured = iwae_nll.METRIC.compute(make_context(make_model("bernoulli_grey")))["iwae_nll"]
    assert (measured.value, measured.reason) == (None, "no_likelihood")


def test_a_conditional_model_is_told_the_labels_of_its_images(
    make_context, make_conditional, reference
) -> None:
    model = make_conditional()
    iwae_nll.METRIC.compute(make_context(model))
    (labels,) = model.received_labels["importance_log_weights"]
    assert torch.equal(labels, reference.labels)


def test_the_training_beta_plays_no_part(reference, train, extractor) -> None:
    names = ["elbo", "rate", "distortion", "iwae_nll"]
    settings = Settings(Seeds(train=0, sample=1, metric=2), max_samples=20)
    found = []
    for changes in ({"beta": 1.0, "kl_warmup": 0.0}, {"beta": 20.0, "kl_warmup": 1.0}):
        model = small_model(presets()["vae"], **changes)
        measured = evaluate(
            model,
            names,
            reference=reference,
            train=train,
            extractors=[extractor],
            settings=settings,
        )
        found.append([record.value for record in measured.records])
    assert found[0] == found[1]
    assert None not in found[0]
