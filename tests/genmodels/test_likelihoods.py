import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from genmodels.likelihoods import Bernoulli, Gaussian


@pytest.fixture
def output():
    return torch.randn(5, 2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bernoulli_equals_torch_distributions(output):
    x = (output.flip(0) > 0).double()
    expected = TorchBernoulli(logits=output).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(
        Bernoulli().log_prob(x, output).double(), expected, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("sigma", [0.05, 1.0, 3.0])
def test_gaussian_equals_torch_distributions_with_all_constants(sigma, output):
    x = output.flip(0).sigmoid()
    expected = Normal(output.sigmoid(), sigma).log_prob(x).flatten(1).sum(1)
    got = Gaussian(sigma).log_prob(x, output).double()
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(0.1)])
def test_distortion_sums_over_channels_and_pixels(likelihood, output):
    x, grey = output.flip(0).sigmoid()[:, :1], output[:, :1]
    once = likelihood.log_prob(x, grey)
    torch.testing.assert_close(
        likelihood.log_prob(x.expand(-1, 3, -1, -1), grey.expand(-1, 3, -1, -1)), 3 * once
    )


def test_a_constant_decoder_at_the_pixel_mean_gives_the_independent_pixel_entropy(digits):
    x = (digits > 0.5).float()
    mean = x.mean(0, keepdim=True).clamp(1e-6, 1 - 1e-6)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).sum()
    got = -Bernoulli().log_prob(x, torch.logit(mean).expand_as(x)).mean()
    torch.testing.assert_close(got, entropy, rtol=1e-4, atol=0)


def test_extreme_logits_stay_finite():
    output = torch.tensor([[[[1e4, -1e4]]]])
    assert Bernoulli().log_prob(torch.tensor([[[[1.0, 0.0]]]]), output).item() == 0
    assert Bernoulli().log_prob(torch.tensor([[[[0.0, 1.0]]]]), output).item() == -2e4
