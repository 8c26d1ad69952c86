import math
from typing import get_args

import pytest
import torch

from genmodels.objectives.adversarial import LOSSES, LossName

ZERO = torch.zeros(8, dtype=torch.float64)
LOG_2 = math.log(2)
AT_ZERO = {
    "non_saturating": (2 * LOG_2, LOG_2),
    "minimax": (2 * LOG_2, -LOG_2),
    "least_squares": (0.5, 0.5),
    "hinge": (2.0, 0.0),
    "wasserstein": (0.0, 0.0),
    "relativistic": (LOG_2, LOG_2),
}
NAMES = list(LOSSES)


def drawn(seed=0, n=16):
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, n, generator=rng, dtype=torch.float64)


def test_every_loss_name_has_a_loss():
    assert set(LOSSES) == set(AT_ZERO) == set(get_args(LossName))


@pytest.mark.parametrize("name", NAMES)
def test_values_at_zero_logits(name):
    loss, (discriminator, generator) = LOSSES[name], AT_ZERO[name]
    assert loss.discriminator(ZERO, ZERO).tolist() == pytest.approx([discriminator] * 8, rel=1e-12)
    assert loss.generator(ZERO, ZERO).tolist() == pytest.approx([generator] * 8, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_signs_at_zero_logits(name):
    loss = LOSSES[name]
    discriminator, generator = (
        side(ZERO, ZERO).mean() for side in (loss.discriminator, loss.generator)
    )
    assert loss.discriminator(ZERO + 0.5, ZERO).mean() < discriminator
    assert loss.discriminator(ZERO, ZERO + 0.5).mean() > discriminator
    assert loss.generator(ZERO, ZERO + 0.5).mean() < generator


@pytest.mark.parametrize("name", NAMES)
def test_only_a_relativistic_generator_loss_depends_on_the_real_logits(name):
    real, fake = drawn()
    loss = LOSSES[name]
    same = torch.equal(loss.generator(real, fake), loss.generator(real + 1, fake))
    assert same != loss.relativistic


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_size_does_not_enter_a_loss(name):
    real, fake = drawn()
    for side in (LOSSES[name].discriminator, LOSSES[name].generator):
        alone = torch.stack([side(real[i : i + 1], fake[i : i + 1]).mean() for i in range(16)])
        torch.testing.assert_close(alone.mean(), side(real, fake).mean(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_has_a_boundary_if_it_changes_under_a_constant_shift(name):
    real, fake = drawn()
    loss = LOSSES[name]
    shifted = loss.discriminator(real + 7, fake + 7)
    same = torch.allclose(loss.discriminator(real, fake), shifted, rtol=1e-9)
    assert same == (loss.boundary is None)


def test_the_relativistic_losses_ignore_a_constant_and_give_an_output_bias_no_gradient():
    real, fake = drawn()
    loss = LOSSES["relativistic"]
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for side in (loss.discriminator, loss.generator):
        torch.testing.assert_close(side(real + 7, fake + 7), side(real, fake), rtol=1e-12, atol=0)
        (gradient,) = torch.autograd.grad(side(real + bias, fake + bias).mean(), bias)
        assert gradient.abs() < 1e-15


@pytest.mark.parametrize("name", ["non_saturating", "minimax", "relativistic"])
def test_large_logits_stay_finite(name):
    loss, large = LOSSES[name], torch.tensor([1e4])
    assert loss.discriminator(large, -large).item() == 0
    assert loss.discriminator(-large, large).isfinite()
    assert loss.generator(large, -large).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_the_optimal_logit_is_the_log_odds_for_probabilistic_losses_only(name):
    # One point x with density 0.8 among real and 0.3 among generated images: log odds log(8/3).
    # The paired images have logit 1, which shifts the optimum of losses on differences.
    loss = LOSSES[name]
    logit = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    elsewhere = torch.ones_like(logit)
    value = 0.8 * loss.discriminator(logit, elsewhere) + 0.3 * loss.discriminator(elsewhere, logit)
    best = logit[value.argmin()].item()
    assert (abs(best - math.log(8 / 3)) < 2e-3) == loss.probabilistic


def test_the_optimal_discriminator_reaches_the_jensen_shannon_value():
    # Between N(0, 1) and N(1, 1) the optimal logit is 0.5 - x, and 2 log 2 - 2 JSD = 1.16345.
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(400_000, generator=rng)
    fake = torch.randn(400_000, generator=rng) + 1
    value = LOSSES["non_saturating"].discriminator(0.5 - real, 0.5 - fake).mean().item()
    assert value == pytest.approx(1.16345, abs=4e-3)


def test_accuracy_counts_both_sides_of_the_boundary():
    real, fake = torch.tensor([2.0, 0.1, -1.0, 0.6]), torch.tensor([1.0, 0.2, -2.0, -1.0])
    accuracy = {name: LOSSES[name].accuracy(real, fake).item() for name in NAMES}
    assert accuracy == {
        "non_saturating": (3 + 2) / 8,
        "minimax": (3 + 2) / 8,
        "hinge": (3 + 2) / 8,
        "least_squares": (2 + 3) / 8,
        "wasserstein": 3 / 4,
        "relativistic": 3 / 4,
    }
