import torch
from torch.distributions import Normal, kl_divergence

from genmodels.objectives.divergences import kl_to_standard_normal


def test_kl_of_the_prior_is_zero():
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).abs().max() == 0


def test_kl_equals_torch_distributions():
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(50, 4, generator=rng, dtype=torch.float64)
    logvar = torch.randn(50, 4, generator=rng, dtype=torch.float64) * 3
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(
        kl_to_standard_normal(mean, logvar), expected, rtol=1e-10, atol=1e-12
    )


def test_kl_keeps_its_digits_near_the_prior():
    # For small logvar the KL is logvar^2 / 4; the textbook form cancels to 0 in float32.
    logvar = torch.tensor([[1e-3]])
    actual = kl_to_standard_normal(torch.zeros(1, 1), logvar).item()
    assert abs(actual / 2.5e-7 - 1) < 1e-2
