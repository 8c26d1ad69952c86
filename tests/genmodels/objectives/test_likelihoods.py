import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.distributions import Normal

from genmodels.objectives.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian

LIKELIHOODS = [Bernoulli(), ContinuousBernoulli(), Gaussian(math.log(0.1))]


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
    for log_sigma in (math.log(sigma), torch.tensor(math.log(sigma))):
        actual = Gaussian(log_sigma).log_prob(x, output).double()
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_distortion_sums_over_channels_and_pixels(likelihood, output):
    x, grey = output.flip(0).sigmoid()[:, :1], output[:, :1]
    once = likelihood.log_prob(x, grey)
    torch.testing.assert_close(
        likelihood.log_prob(x.expand(-1, 3, -1, -1), grey.expand(-1, 3, -1, -1)), 3 * once
    )


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_output_of_a_mean_has_that_mean(likelihood):
    mean = torch.tensor([0.001, 0.1, 0.45, 0.5, 0.9, 0.999])
    torch.testing.assert_close(likelihood.mean(likelihood.raw(mean)), mean, rtol=1e-3, atol=2e-5)
    assert likelihood.raw(torch.tensor([0.0, 1.0])).isfinite().all()


def test_a_constant_decoder_at_the_pixel_mean_gives_the_independent_pixel_entropy(digits):
    x = (digits > 0.5).float()
    mean = x.mean(0, keepdim=True).clamp(1e-6, 1 - 1e-6)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).sum()
    actual = -Bernoulli().log_prob(x, torch.logit(mean).expand_as(x)).mean()
    torch.testing.assert_close(actual, entropy, rtol=1e-4, atol=0)


def test_extreme_logits_stay_finite():
    output = torch.tensor([[[[1e4, -1e4]]]])
    assert Bernoulli().log_prob(torch.tensor([[[[1.0, 0.0]]]]), output).item() == 0
    assert Bernoulli().log_prob(torch.tensor([[[[0.0, 1.0]]]]), output).item() == -2e4


@pytest.mark.parametrize("eta", [-50.0, -8.0, -0.1, 0.0, 0.5, 10.0])
def test_the_continuous_bernoulli_is_a_density_with_its_mean(eta):
    # Simpson's rule on [0, 1].
    nodes = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    weights = torch.ones_like(nodes)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    weights /= 3 * 20_000
    output = torch.full((20_001, 1, 1, 1), eta)
    density = ContinuousBernoulli().log_prob(nodes.reshape(-1, 1, 1, 1), output).double().exp()
    assert (weights * density).sum().item() == pytest.approx(1, abs=1e-5)
    mean = (weights * density * nodes).sum().item()
    assert ContinuousBernoulli().mean(torch.tensor(eta)).item() == pytest.approx(mean, abs=1e-5)


def test_the_mean_of_the_continuous_bernoulli_is_not_the_sigmoid():
    assert ContinuousBernoulli().mean(torch.tensor(3.0)).item() == pytest.approx(0.719, abs=1e-3)


def test_the_continuous_bernoulli_equals_torch_distributions_where_those_are_exact():
    eta = torch.linspace(-8, 8, 33).reshape(-1, 1, 1, 1)
    x = torch.rand(33, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    expected = TorchContinuousBernoulli(logits=eta).log_prob(x).flatten()
    torch.testing.assert_close(ContinuousBernoulli().log_prob(x, eta), expected, rtol=0, atol=3e-5)


def test_the_continuous_bernoulli_has_finite_gradients_everywhere():
    eta = torch.tensor([0.0, 1e-30, 0.3, -0.3, 60.0, -60.0]).reshape(-1, 1, 1, 1).requires_grad_()
    ContinuousBernoulli().log_prob(torch.full((6, 1, 1, 1), 0.2), eta).sum().backward()
    assert eta.grad.isfinite().all()
    # Outside the range in which torch clips its normalising constant.
    zero = torch.zeros(1, 1, 1, 1)
    actual = ContinuousBernoulli().log_prob(zero, torch.full((1, 1, 1, 1), -50.0)).item()
    assert actual == pytest.approx(3.912, abs=1e-3)


def test_the_optimal_sigma_has_no_gradient_and_its_distortion_is_an_entropy(output):
    x = output.flip(0).sigmoid().float()
    gradients = []
    for detached in (True, False):
        raw = output.float().clone().requires_grad_()
        squared = (x - raw.sigmoid()).square().mean()
        log_sigma = 0.5 * (squared.detach() if detached else squared).log()
        distortion = -Gaussian(log_sigma).log_prob(x, raw).mean()
        distortion.backward()
        gradients.append(raw.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)
    num = x[0].numel()
    entropy = num / 2 * (math.log(2 * math.pi * squared.item()) + 1)
    assert distortion.item() == pytest.approx(entropy, rel=1e-5)
