"""GAN training with a known outcome: the Dirac-GAN, and how modes are counted.

`make bench` trains on a mixture of 25 Gaussians and checks that the penalties cover it.
"""

import math

import pytest
import torch

from genmodels.objectives.adversarial import LOSSES
from genmodels.objectives.penalties import squared_gradient_norm
from tests.bench import mode_coverage

STEP = 0.1


def gradients(name, psi, theta, gamma, network):
    """The gradient of a network's loss in the Dirac-GAN: D(x) = psi x, data at 0, generated theta.

    Mescheder et al. 2018, Definition 2.1.
    """
    psi, theta = (
        torch.tensor([[v]], dtype=torch.float64, requires_grad=True) for v in (psi, theta)
    )
    real = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    logits_real, logits_fake = (real @ psi).squeeze(1), (theta @ psi).squeeze(1)
    loss = LOSSES[name]
    if network == "generator":
        return torch.autograd.grad(loss.generator(logits_real, logits_fake).mean(), theta)[0].item()
    value = loss.discriminator(logits_real, logits_fake).mean()
    if gamma:
        value = value + 0.5 * gamma * squared_gradient_norm(logits_real, real).mean()
    return torch.autograd.grad(value, psi)[0].item()


def distances(name, gamma, steps=500, simultaneous=False):
    """The distance of (psi, theta) from the equilibrium after each update, from (1, 1) on."""
    psi, theta, norms = 1.0, 1.0, []
    for _ in range(steps):
        previous = psi
        psi -= STEP * gradients(name, psi, theta, gamma, "discriminator")
        theta -= STEP * gradients(
            name, previous if simultaneous else psi, theta, gamma, "generator"
        )
        norms.append(math.hypot(psi, theta))
    return norms


@pytest.mark.parametrize("name", ["wasserstein", "hinge"])
def test_without_a_penalty_the_parameters_circle_around_the_equilibrium(name):
    norms = distances(name, gamma=0.0)
    assert min(norms) > 0.9 * math.sqrt(2)
    assert max(norms) < 1.1 * math.sqrt(2)


@pytest.mark.parametrize(
    "name", ["wasserstein", "hinge", "non_saturating", "minimax", "relativistic"]
)
def test_with_r1_the_parameters_converge_to_the_equilibrium(name):
    assert distances(name, gamma=1.0)[-1] < 1e-6


def test_simultaneous_updates_spiral_outwards_at_the_known_rate():
    norms = distances("wasserstein", gamma=0.0, simultaneous=True)
    growth = (1 + STEP**2) ** (500 / 2)
    assert growth == pytest.approx(12.03, abs=5e-3)
    assert norms[-1] / math.sqrt(2) == pytest.approx(growth, rel=1e-6)


def test_coverage_counts_modes_and_the_rarest_one():
    samples = mode_coverage.CENTRES.repeat_interleave(30, dim=0)
    assert mode_coverage.coverage(samples) == mode_coverage.Coverage(25, 30)
    samples[:30] = mode_coverage.CENTRES[1]
    assert mode_coverage.coverage(samples) == mode_coverage.Coverage(24, 0)
    samples[:30] = (
        mode_coverage.CENTRES[0] + 0.3
    )  # nearest to this centre, at a distance of eight standard deviations
    assert mode_coverage.coverage(samples) == mode_coverage.Coverage(24, 30)
