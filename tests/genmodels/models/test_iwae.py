"""Importance bounds of a model with a closed-form likelihood."""

import math

import pytest
import torch
from torch import nn

from genmodels.models import iwae
from genmodels.networks.shape import ImageShape
from genmodels.objectives.priors import standard_normal_log_prob
from tests.conftest import presets, small_model

D, LATENTS, SIGMA = 16, 3, 0.5


class LinearGaussian(iwae.Model):
    """x = W z + 0.5 noise with orthogonal loadings: the posterior is a diagonal normal."""

    def __init__(self, config, mean_factor=1.0, deviation_factor=1.0):
        super().__init__(config, ImageShape(1, 4, 4), 0)
        rng = torch.Generator().manual_seed(0)
        basis, _ = torch.linalg.qr(torch.randn(D, D, generator=rng, dtype=torch.float64))
        self.loadings = basis[:, :LATENTS] * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
        self.decoder = nn.Linear(LATENTS, D, bias=False).double()
        self.decoder.weight.data = self.loadings.clone()
        self.mean_factor, self.deviation_factor = mean_factor, deviation_factor

    def posterior(self, x, y):
        variance = 1 / (1 + self.loadings.square().sum(0) / SIGMA**2)
        mean = variance * (x.flatten(1) @ self.loadings) / SIGMA**2
        logvar = (variance * self.deviation_factor**2).log().expand(len(x), -1)
        return self.mean_factor * mean, logvar

    def log_prob(self, x, output):
        normal = torch.distributions.Normal(output, SIGMA)
        return normal.log_prob(x.flatten(1)).sum(1)

    def log_evidence(self, x):
        covariance = self.loadings @ self.loadings.T + SIGMA**2 * torch.eye(D)
        normal = torch.distributions.MultivariateNormal(
            torch.zeros(D, dtype=torch.float64), covariance.double()
        )
        return normal.log_prob(x.flatten(1))


@pytest.fixture
def config():
    entry = presets()["iwae"] | {"latent_dim": LATENTS, "binarize": "none"}
    return iwae.Config.model_validate(entry)


@pytest.fixture
def x():
    rng = torch.Generator().manual_seed(1)
    return torch.randn(256, 1, 4, 4, generator=rng, dtype=torch.float64)


def bound(model, x, k, seed=0, rows=500):
    return model.log_likelihood_bound(x, k, torch.Generator().manual_seed(seed), rows=rows)


def test_with_the_exact_posterior_every_weight_is_the_evidence(config, x):
    model = LinearGaussian(config)
    assert (bound(model, x, 1) - model.log_evidence(x)).abs().max() < 1e-6
    epsilon = torch.randn(5, 256, LATENTS, dtype=torch.float64)
    log_w = model.log_weights(x, None, *model.posterior(x, None), epsilon)
    exact = log_w - model.log_evidence(x)
    assert exact.abs().max() < 1e-10


def test_with_a_wrong_posterior_the_bound_rises_to_the_evidence(config, x):
    model = LinearGaussian(config, mean_factor=0.8, deviation_factor=1.3)
    x = x[:64]
    evidence = model.log_evidence(x).mean()
    gaps = [(evidence - bound(model, x, k).mean()).item() for k in (1, 2, 5, 50, 2000)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.3
    assert abs(gaps[-1]) < 0.02


def test_the_first_gap_is_the_divergence_from_the_exact_posterior(config, x):
    model = LinearGaussian(config, mean_factor=0.8, deviation_factor=1.3)
    gap = model.log_evidence(x) - bound(model, x, 1)
    exact = LinearGaussian(config, 1.0, 1.0)
    normals = [
        torch.distributions.Normal(mean, (0.5 * logvar).exp())
        for mean, logvar in (each.posterior(x, None) for each in (model, exact))
    ]
    divergence = torch.distributions.kl_divergence(*normals).sum(1)
    noise = gap - divergence  # one draw per image
    assert abs(noise.mean().item()) < 4 * noise.std().item() / math.sqrt(len(x))


@pytest.mark.parametrize("rows", [1, 7, 64, 10_000])
def test_the_streamed_bound_does_not_depend_on_the_block_size(rows, config, x):
    model = LinearGaussian(config, 0.8, 1.3)
    torch.testing.assert_close(
        bound(model, x[:20], 12, rows=rows), bound(model, x[:20], 12), rtol=0, atol=1e-5
    )


def test_one_draw_is_the_elbo(images):
    model = small_model(presets()["iwae"], num_importance=1, kl_warmup=0.0, binarize="none")
    step = model.objective(images, None, 5, torch.Generator().manual_seed(0))
    epsilon = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    terms = model.terms(images, None, epsilon)
    posterior = torch.distributions.Normal(terms.mean, (0.5 * terms.logvar).exp())
    log_q = posterior.log_prob(terms.z).sum(1)
    elbo = -terms.distortion + standard_normal_log_prob(terms.z) - log_q
    torch.testing.assert_close(step["loss"], -elbo.mean())


def test_the_loss_is_the_negative_bound_of_its_draws(images):
    model = small_model(presets()["iwae"], num_importance=4, kl_warmup=0.0, binarize="none")
    step = model.objective(images, None, 5, torch.Generator().manual_seed(0))
    again = bound(model, images, 4)
    assert step["loss"].item() == pytest.approx(-again.mean().item(), rel=1e-5)
    assert 1 <= step["effective_samples"].item() <= 4


def test_the_best_draw_gets_the_largest_weight(images):
    model = small_model(presets()["iwae"], binarize="none")
    posterior = model.posterior(images[:1], None)
    log_w = model.log_weights(images[:1], None, *posterior, torch.randn(6, 1, 3))[:, 0]
    output = log_w.detach().requires_grad_()
    (output.logsumexp(0) - math.log(6)).backward()
    assert torch.equal(output.grad.argsort(), log_w.argsort())


def gradients(model, images, seeds, step=5):
    totals = None
    for seed in range(seeds):
        model.zero_grad()
        model.objective(images, None, step, torch.Generator().manual_seed(seed))["loss"].backward()
        row = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        totals = row[None] if totals is None else torch.cat([totals, row[None]])
    return totals


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_both_gradients_have_the_same_mean_at_any_weight_of_the_densities(images, weight):
    both = {}
    for gradient in ("iwae", "dreg"):
        model = small_model(
            presets()["iwae"],
            architecture="mlp",
            head_depth=0,
            num_importance=3,
            gradient=gradient,
            kl_warmup=1.0,
            num_steps=100,
            binarize="none",
        )
        step = round(100 * weight)
        assert model.warmup_at(step) == weight
        both[gradient] = gradients(model, images[:4], 400, step)
    means = {key: value.mean(0) for key, value in both.items()}
    error = sum(value.var(0) / len(value) for value in both.values()).sqrt()
    z = (means["iwae"] - means["dreg"]) / error.clamp(min=1e-7)
    # A few of a thousand entries exceed 4 standard errors by chance; the mean square must not.
    assert z.square().mean() < 1.5
    assert not torch.allclose(both["iwae"][0], both["dreg"][0])
