"""Permuted codes, and the critic that estimates the total correlation."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from genmodels.objectives.density_ratio import density_ratio_loss, permute_dimensions
from tests.genmodels.objectives.posteriors import codes


def test_permuted_codes_keep_their_marginals_and_lose_their_correlation():
    _, _, z = codes(0, 0.25, size=1024, dim=3, rho=0.9)
    assert torch.corrcoef(z.T)[0, 1] > 0.85
    permuted = permute_dimensions(z, torch.Generator().manual_seed(1))
    torch.testing.assert_close(permuted.sort(0).values, z.sort(0).values, rtol=0, atol=0)
    correlation = torch.corrcoef(permuted.T)[~torch.eye(3, dtype=torch.bool)]
    assert correlation.abs().max() < 4 / 1024**0.5


def test_the_permutation_is_a_function_of_the_generator():
    z = torch.arange(40.0).reshape(20, 2)
    first, again = (permute_dimensions(z, torch.Generator().manual_seed(1)) for _ in range(2))
    other = permute_dimensions(z, torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:, 0], z[:, 0])


def test_zero_logits_have_the_loss_log_two():
    zero = torch.zeros(3)
    assert density_ratio_loss(zero, zero).item() == pytest.approx(math.log(2), rel=1e-6)
    better = density_ratio_loss(zero + 1, zero - 1)
    assert better < math.log(2) < density_ratio_loss(zero - 1, zero + 1)


def test_a_trained_critic_s_logit_is_the_log_density_ratio():
    rho, size = 0.9, 128
    joint = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, rho], [rho, 1.0]]))
    root = joint.scale_tril
    rng = torch.Generator().manual_seed(0)
    critic = nn.Sequential(nn.Linear(2, 128), nn.LeakyReLU(0.2), nn.Linear(128, 128))
    critic.extend([nn.LeakyReLU(0.2), nn.Linear(128, 1)])
    for layer in critic[::2]:
        with torch.no_grad():
            layer.weight.copy_(
                torch.randn(layer.weight.shape, generator=rng) / layer.in_features**0.5
            )
            layer.bias.zero_()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, fused=True)
    for _ in range(2000):
        z = torch.randn(2 * size, 2, generator=rng) @ root.T
        product = permute_dimensions(z[size:], rng)
        loss = density_ratio_loss(critic(z[:size])[:, 0], critic(product)[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = torch.randn(20_000, 2, generator=rng) @ root.T
    with torch.no_grad():
        logit = critic(z)[:, 0]
    truth = joint.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)
    assert logit.mean().item() == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.2)
    # The slope of the logit against the log-ratio is 1, not 2 or -1.
    central = z.abs().max(1).values < 1.5
    slope = torch.cov(torch.stack([logit, truth])[:, central])
    assert (slope[0, 1] / slope[1, 1]).item() == pytest.approx(1, abs=0.2)
