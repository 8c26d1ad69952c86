import math

import pytest
import torch

from genmodels.adversarial import non_saturating_discriminator, non_saturating_generator

ZERO = torch.zeros(8, dtype=torch.float64)


def test_values_at_zero_logits():
    assert non_saturating_discriminator(ZERO, ZERO).item() == pytest.approx(
        2 * math.log(2), rel=1e-12
    )
    assert non_saturating_generator(ZERO).item() == pytest.approx(math.log(2), rel=1e-12)


def test_signs_at_zero_logits():
    at_zero = non_saturating_discriminator(ZERO, ZERO)
    assert non_saturating_discriminator(ZERO + 0.5, ZERO) < at_zero
    assert non_saturating_discriminator(ZERO, ZERO + 0.5) > at_zero
    assert non_saturating_generator(ZERO + 0.5) < non_saturating_generator(ZERO)


def test_large_logits_stay_finite():
    assert non_saturating_generator(torch.tensor([-1e4])).item() == 1e4
    assert non_saturating_discriminator(torch.tensor([1e4]), torch.tensor([-1e4])).item() == 0


def test_the_optimal_discriminator_reaches_the_jensen_shannon_value():
    # Between N(0, 1) and N(1, 1) the optimal logit is 0.5 - x, and 2 log 2 - 2 JSD = 1.16345.
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(400_000, generator=rng)
    fake = torch.randn(400_000, generator=rng) + 1
    value = non_saturating_discriminator(0.5 - real, 0.5 - fake).item()
    assert value == pytest.approx(1.16345, abs=4e-3)
