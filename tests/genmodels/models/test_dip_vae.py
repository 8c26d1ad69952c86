import pytest
import torch
from pydantic import ValidationError

from genmodels.base.seeding import generator
from genmodels.base.vae import Terms
from tests.conftest import presets, small_model


def dip_vae(**changes):
    return small_model(presets()["dip_vae"], **changes)


def terms_of(mean, logvar):
    """The terms of a posterior with these parameters; rate and distortion are 0."""
    zeros = mean.new_zeros(len(mean))
    return Terms(mean, logvar, mean, zeros, zeros)


def penalty_of(model, terms):
    penalty, logged = model.regularizer(terms, 0, generator(0, "draws"))
    return penalty - terms.rate, logged


def correlated(num, rho):
    """Means (num, 2) with exact unit variance and correlation rho, and log-variances of 0.25."""
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise -= noise.mean(0)
    white = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T @ noise / num)).T
    mean = white @ torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]).double()).T
    return mean, torch.full_like(mean, 0.25).log()


def test_the_penalty_is_that_of_a_known_covariance():
    terms = terms_of(*correlated(500, rho=0.6))
    weights = {"off_diagonal": 3.0, "diagonal": 5.0}
    # Twice, because C is symmetric; the variance is 1 for means and 1.25 for codes.
    means, logged = penalty_of(dip_vae(covariance="means", **weights), terms)
    torch.testing.assert_close(means.mean().item(), 3 * 2 * 0.6**2)
    torch.testing.assert_close(logged["off_diagonal"].item(), 2 * 0.6**2)
    codes, logged = penalty_of(dip_vae(covariance="codes", **weights), terms)
    torch.testing.assert_close(codes.mean().item(), 3 * 2 * 0.6**2 + 5 * 2 * 0.25**2)
    torch.testing.assert_close(logged["diagonal"].item(), 2 * 0.25**2)


def test_standard_normal_codes_have_no_penalty():
    mean, logvar = correlated(500, rho=0.0)
    shrunk = terms_of(
        mean * 0.75**0.5, logvar
    )  # variance 0.75 of the means plus 0.25 of the posteriors
    penalty, _ = penalty_of(dip_vae(covariance="codes"), shrunk)
    assert penalty.abs().max() < 1e-12


def test_a_repeated_batch_has_the_same_penalty(images):
    model = dip_vae()
    noise = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))
    once = model.terms(images, None, noise)
    twice = model.terms(images.repeat(2, 1, 1, 1), None, noise.repeat(2, 1))
    torch.testing.assert_close(penalty_of(model, once)[0][0], penalty_of(model, twice)[0][0])


def test_with_zero_weights_the_objective_is_that_of_the_vae(images):
    model = dip_vae(off_diagonal=0.0, diagonal=0.0)
    terms = model.terms(images, None, torch.zeros(len(images), 3))
    penalty, _ = model.regularizer(terms, 0, generator(0, "draws"))
    assert torch.equal(penalty, terms.rate)


def test_descent_on_the_penalty_makes_the_codes_uncorrelated():
    start, logvar = correlated(500, rho=0.9)
    mean = start.clone().requires_grad_()
    model = dip_vae(covariance="codes", off_diagonal=1.0, diagonal=1.0)
    for _ in range(200):
        penalty, _ = penalty_of(model, terms_of(mean, logvar))
        (gradient,) = torch.autograd.grad(penalty.mean(), mean)
        mean = (mean - 20 * gradient).detach().requires_grad_()
    covariance = torch.cov(mean.detach().T, correction=0)
    torch.testing.assert_close(covariance, torch.eye(2).double() * 0.75, atol=1e-3, rtol=0)


def test_the_covariance_stays_in_float32_under_autocast(images):
    model = dip_vae()
    terms = model.terms(images, None, torch.zeros(len(images), 3))
    plain, _ = penalty_of(model, terms)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = penalty_of(model, terms)
    assert torch.equal(cast, plain)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"off_diagonal": -1.0}, "greater than or equal to 0"),
        ({"covariance": "latents"}, "'means' or 'codes'"),
        ({"prior": "vamp", "num_pseudo_inputs": 4}, "set prior: normal"),
    ],
)
def test_contradictory_settings_are_rejected(changes, message):
    with pytest.raises(ValidationError, match=message):
        dip_vae(**changes)
