"""Priors, posteriors and samplers of the VAE kinds."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.objectives.priors import mixture_log_prob, normal_log_prob
from tests.conftest import presets, small_model
from tests.genmodels.base.vaes import VAES, labels_of, noise, vae


def test_the_vamp_prior_is_the_mixture_of_its_pseudo_posteriors(images):
    model = vae(prior="vamp", num_pseudo_inputs=4)
    z = noise(9)
    means, logvars = model.posterior(model.pseudo_inputs.clamp(0, 1), None)
    torch.testing.assert_close(model.prior_log_prob(z), mixture_log_prob(z, means, logvars))
    terms = model.terms(images, None, noise(64))
    expected = normal_log_prob(terms.z, terms.mean, terms.logvar) - model.prior_log_prob(terms.z)
    torch.testing.assert_close(terms.rate, expected)
    terms.rate.sum().backward()
    assert model.pseudo_inputs.grad.abs().sum() > 0


def test_draws_from_the_vamp_prior_use_every_component_equally(images):
    model = vae(prior="vamp", num_pseudo_inputs=4, latent_dim=2)
    # Narrow and far apart, so that the component of a draw is unique.
    means = torch.tensor([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    model._pseudo_posteriors = lambda: (means, torch.full((4, 2), -4.0))
    drawn = model.sample_latent(1000, generator(0, "z"))
    counts = torch.cdist(drawn, means).argmin(1).bincount(minlength=4)
    chi_squared = ((counts - 250) ** 2 / 250).sum().item()
    assert chi_squared < 16.27  # p = 0.001 at 3 degrees of freedom
    assert (drawn / 100).frac().abs().max() > 0  # draws have noise around the means


def test_the_mixture_sampler_draws_from_the_aggregate_posterior(images):
    model = vae(sampler="gmm", gmm_components=2)
    many = Images(images.repeat(4, 1, 1, 1), None)
    model.initialise(generator(0, "weights"), many)
    model.fit_sampler(many, generator(0, "fit"))
    codes = model.score(many.x, None, generator(1, "codes")).z
    drawn = model.sample_latent(4000, generator(0, "z"))
    torch.testing.assert_close(drawn.std(0), codes.std(0), rtol=0.15, atol=0)
    assert model.sample(3, generator(0, "s")).shape == (3, 1, 12, 12)


def test_a_reconstruction_decodes_the_posterior_mean(images):
    model = vae()
    mean, logvar = model.encode(images)
    assert mean.shape == logvar.shape == (64, 3)
    assert torch.equal(model.reconstruct(images), model.decode(mean))


@pytest.mark.parametrize("name", VAES)
def test_the_latent_posterior_has_the_rate_of_the_model(name, images):
    model = small_model(presets()[name]).eval()
    y = labels_of(model, 64)
    mean, std = model.latent_posterior(images, generator(0, "score"), y)
    if model.unit_normal_prior:
        rate, _ = model.rate_distortion(images, generator(0, "score"), y)
        expected = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(rate, expected, rtol=1e-4, atol=1e-5)


def test_pseudo_inputs_have_no_weight_decay():
    model = vae(prior="vamp", num_pseudo_inputs=4)
    (phase,) = model.phases()
    decayed = {id(parameter) for parameter in phase.decayed}
    assert id(model.pseudo_inputs) not in decayed
    matrices = [p for network in (model.encoder, model.decoder) for p in network.parameters()]
    assert decayed == {id(p) for p in matrices if p.dim() > 1}
