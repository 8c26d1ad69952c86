import math

import pytest
import torch
from pydantic import ValidationError

from genmodels.base.seeding import generator
from genmodels.objectives.priors import normal_log_prob
from genmodels.objectives.total_correlation import decompose, stratified_log_weights
from tests.conftest import presets, small_model


def tcvae(**changes):
    return small_model(presets()["beta_tcvae"], **changes)


def terms_of(model, images):
    noise = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))
    return model.terms(images, None, noise)


def test_each_term_of_the_penalty_has_its_own_weight(images):
    model = tcvae()
    terms = terms_of(model, images)
    log_weights = stratified_log_weights(64, int(model.num_training_images))
    log_prior = model.prior_log_prob(terms.z)
    parts = decompose(terms.mean, terms.logvar, terms.z, log_prior, log_weights)
    for position, weights in enumerate(torch.eye(3).tolist()):
        model = tcvae(**dict(zip(("alpha", "beta", "gamma"), weights, strict=True)))
        penalty, _ = model.regularizer(terms, 0, generator(0, "none"))
        torch.testing.assert_close(penalty, parts[position])


@pytest.mark.parametrize("prior", [{}, {"prior": "vamp", "num_pseudo_inputs": 4}])
def test_with_all_weights_one_it_is_the_vae_with_the_rate_of_the_draws(prior, images):
    model = tcvae(alpha=1.0, beta=1.0, gamma=1.0, **prior)
    terms = terms_of(model, images)
    penalty, _ = model.regularizer(terms, 0, generator(0, "none"))
    log_posterior = normal_log_prob(terms.z, terms.mean, terms.logvar)
    expected = log_posterior - model.prior_log_prob(terms.z)
    torch.testing.assert_close(penalty, expected, rtol=1e-5, atol=1e-4)


def test_the_estimate_uses_the_size_of_the_training_split(images):
    model = tcvae()
    assert model.num_training_images == 100
    terms = terms_of(model, images)
    penalties, shares = [], []
    for num in (100, 60_000):
        model.num_training_images.fill_(num)
        penalty, logged = model.regularizer(terms, 0, generator(0, "none"))
        penalties.append(penalty.mean())
        shares.append(logged["mutual_information_share"])
        share = logged["mutual_information"] / math.log(num)
        torch.testing.assert_close(logged["mutual_information_share"], share)
        assert share <= 1 + 1e-5
    assert penalties[0] != penalties[1]


def test_the_warm_up_scales_the_whole_penalty_and_its_terms_are_logged(images):
    model = tcvae(kl_warmup=0.5, num_steps=100, binarize="none")
    start, end = (
        model.training_step(images, None, "vae", step, generator(0, "step")) for step in (0, 99)
    )
    torch.testing.assert_close(start["loss"], start["distortion"])
    penalty = end["mutual_information"] + 6 * end["total_correlation"] + end["dimension_wise_kl"]
    torch.testing.assert_close(end["loss"], end["distortion"] + penalty)


def test_the_estimate_stays_in_float32_under_autocast(images):
    model = tcvae()
    terms = terms_of(model, images)
    plain, _ = model.regularizer(terms, 0, generator(0, "none"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = model.regularizer(terms, 0, generator(0, "none"))
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


@pytest.mark.parametrize("key", ["alpha", "beta", "gamma"])
def test_negative_weights_are_rejected(key):
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        tcvae(**{key: -1.0})


def test_gamma_above_beta_is_rejected_for_the_vamp_prior():
    vamp = {"prior": "vamp", "num_pseudo_inputs": 4}
    with pytest.raises(ValidationError, match="has no lower bound"):
        tcvae(beta=1.0, gamma=2.0, **vamp)
    tcvae(beta=2.0, gamma=2.0, **vamp)


def test_a_small_batch_gives_a_caution():
    assert "at least 256" in tcvae(batch_size=255).config.cautions()[0]
    assert tcvae(batch_size=256).config.cautions() == ()
