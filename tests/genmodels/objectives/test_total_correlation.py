"""The estimator of the total correlation, and common incorrect ones that fail the same tests."""

import math

import pytest
import torch
from torch.distributions import Normal

from genmodels.objectives.total_correlation import Decomposition, decompose, stratified_log_weights
from tests.genmodels.objectives.posteriors import codes

N = 60_000


def paper_weights(size: int, num: int) -> torch.Tensor:
    """Minibatch stratified sampling as in Chen et al. 2018, appendix C, with M = B - 1."""
    rest = size - 1
    weights = torch.full((size, size), 1 / rest)
    rows = torch.arange(size)
    weights[rows, (rows + 1) % size] = (num - rest) / (num * rest)
    weights[rows, rows] = 1 / num
    return weights.log()


def column_zero_weights(size: int, num: int) -> torch.Tensor:
    """The bug of four public implementations: a stride of M + 1 through B = M + 1 columns."""
    rest = size - 1
    weights = torch.full((size, size), 1 / rest)
    weights.view(-1)[:: rest + 1] = 1 / num
    weights.view(-1)[1 :: rest + 1] = (num - rest) / (num * rest)
    weights[rest - 1, 0] = (num - rest) / (num * rest)
    return weights.log()


def plain_weights(size: int, _num: int) -> torch.Tensor:
    return torch.full((size, size), -math.log(size))


def minibatch_weighted_weights(size: int, num: int) -> torch.Tensor:
    return torch.full((size, size), -math.log(size * num))


WEIGHTS = {
    "recommended": stratified_log_weights,
    "paper": paper_weights,
    "column_zero": column_zero_weights,
    "plain": plain_weights,
    "weighted": minibatch_weighted_weights,
}


RIGHT = ["recommended", "paper"]


def per_dimension_weight(mean, logvar, z, log_prior, log_weights) -> Decomposition:
    """Another bug of public code: the weight in every dimension, so d times in the joint."""
    log_q = Normal(mean, (0.5 * logvar).exp()).log_prob(z[:, None]) + log_weights[:, :, None]
    own = Normal(mean, (0.5 * logvar).exp()).log_prob(z).sum(1)
    joint, product = log_q.sum(2).logsumexp(1), log_q.logsumexp(1).sum(1)
    return Decomposition(own - joint, joint - product, product - log_prior)


def standard_normal(z):
    return Normal(0.0, 1.0).log_prob(z).sum(1)


def estimate(weights, sigma, batches=20, num=N, how=decompose, **changes):
    """(MI, TC, DWKL), the mean over batches."""
    parts = []
    for seed in range(batches):
        mean, logvar, z = codes(seed, sigma, **changes)
        actual = how(mean, logvar, z, standard_normal(z), WEIGHTS[weights](len(z), num))
        parts.append(torch.stack(actual).mean(1))
    return torch.stack(parts).mean(0)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("prior", ["normal", "other"])
def test_the_parts_add_up_to_the_rate_of_the_sampled_codes(weights, prior):
    rng = torch.Generator().manual_seed(0)
    mean, logvar, noise = torch.randn(3, 32, 4, generator=rng, dtype=torch.float64)
    z = mean + (0.5 * logvar).exp() * noise
    log_prior = standard_normal(z) if prior == "normal" else Normal(1.0, 3.0).log_prob(z).sum(1)
    expected = Normal(mean, (0.5 * logvar).exp()).log_prob(z).sum(1) - log_prior
    log_weights = WEIGHTS[weights](32, N).double()
    for how in (decompose, per_dimension_weight):
        actual = sum(how(mean, logvar, z, log_prior, log_weights))
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [2, 3, 16])
@pytest.mark.parametrize("num", [16, 4000, N])
@pytest.mark.parametrize("weights", RIGHT)
def test_the_weight_of_an_image_for_its_own_code_is_one_nth_and_rows_sum_to_one(weights, size, num):
    actual = WEIGHTS[weights](size, num).exp()
    torch.testing.assert_close(actual.diagonal(), torch.full((size,), 1 / num), rtol=1e-5, atol=0)
    torch.testing.assert_close(actual.sum(1), torch.ones(size), rtol=1e-6, atol=0)


@pytest.mark.parametrize("weights", ["column_zero", "plain", "weighted"])
def test_the_other_weights_are_not_stratified(weights):
    actual = WEIGHTS[weights](16, 4000).exp()
    diagonal = torch.allclose(actual.diagonal(), torch.full((16,), 1 / 4000))
    rows = torch.allclose(actual.sum(1), torch.ones(16), rtol=1e-4)
    assert not (diagonal and rows)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_expected_estimate_is_the_density_under_all_training_posteriors(weights):
    rng = torch.Generator().manual_seed(0)
    num, size, batches = 12, 4, 4000
    mean = torch.randn(num, 2, generator=rng)
    density = Normal(mean, 0.7).log_prob(mean[0] + 0.3).sum(1).exp()
    # The image of the code is in every batch (second row); the other images are random.
    others = torch.rand(batches, num - 1, generator=rng).argsort(1)[:, : size - 1] + 1
    batch = torch.cat([others[:, :1], torch.zeros_like(others[:, :1]), others[:, 1:]], 1)
    values = density[batch] @ WEIGHTS[weights](size, num)[1].exp()
    error = abs(values.mean() - density.mean()) / (values.std() / batches**0.5)
    assert (error < 4) == (weights in RIGHT)


@pytest.mark.parametrize("weights", RIGHT)
@pytest.mark.parametrize("num", [500, N])
def test_the_mutual_information_never_exceeds_the_logarithm_of_the_data(weights, num):
    for sigma in (0.1, 0.6):
        mean, logvar, z = codes(0, sigma)
        actual = decompose(mean, logvar, z, standard_normal(z), WEIGHTS[weights](256, num))
        assert actual.mutual_information.max() <= math.log(num) + 1e-4
    assert estimate(weights, sigma=0.1, num=num)[0] == pytest.approx(math.log(num), abs=0.1)


def test_a_weight_in_column_zero_bounds_the_mutual_information_by_the_batch_size():
    wrong = estimate("column_zero", sigma=0.1)[0]
    assert wrong == pytest.approx(5.56, abs=0.1)
    assert wrong == pytest.approx(estimate("plain", sigma=0.1)[0].item(), abs=0.05)
    assert wrong < math.log(N) - 5


def test_a_weight_in_every_dimension_breaks_the_bound_of_the_mutual_information():
    assert estimate("recommended", sigma=0.1, how=per_dimension_weight)[0] > math.log(N) + 40


@pytest.mark.parametrize("weights", RIGHT)
def test_independent_codes_have_a_total_correlation_near_zero(weights):
    mi, tc, dwkl = estimate(weights, sigma=0.6)
    assert abs(tc) < 1
    assert abs(dwkl) < 0.3
    assert mi <= 10 * -math.log(0.6) + 1


def test_a_weight_in_every_dimension_gives_a_negative_total_correlation():
    assert estimate("recommended", sigma=0.6, how=per_dimension_weight)[1] < -30


def test_weighted_sampling_is_the_plain_average_and_a_constant():
    mean, logvar, z = (part.double() for part in codes(0, 0.3))
    log_prior = standard_normal(z)
    plain = decompose(mean, logvar, z, log_prior, plain_weights(256, N).double())
    weighted = decompose(mean, logvar, z, log_prior, minibatch_weighted_weights(256, N).double())
    for key, constant in (
        ("mutual_information", 1),
        ("total_correlation", 9),
        ("dimension_wise_kl", -10),
    ):
        difference = getattr(weighted, key) - getattr(plain, key)
        expected = torch.full_like(difference, constant * math.log(N))
        torch.testing.assert_close(difference, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", RIGHT)
def test_correlated_codes_have_the_total_correlation_of_their_gaussian(weights):
    tc = estimate(weights, sigma=0.25, batches=5, size=1024, dim=2, rho=0.9)[1]
    assert tc == pytest.approx(-0.5 * math.log(1 - 0.9**2), abs=0.1)


def test_the_estimate_in_float32_agrees_with_float64():
    parts = codes(0, 0.1)
    single = decompose(*parts, standard_normal(parts[2]), stratified_log_weights(256, N))
    parts = tuple(part.double() for part in parts)
    double = decompose(*parts, standard_normal(parts[2]), stratified_log_weights(256, N).double())
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=1e-3)


def test_descent_on_the_total_correlation_decorrelates_codes():
    mean, logvar, z = codes(0, 0.25, size=512, dim=2, rho=0.9)
    noise = z - mean
    mean.requires_grad_()
    for _ in range(50):
        terms = decompose(
            mean, logvar, mean + noise, standard_normal(z), stratified_log_weights(512, N)
        )
        (gradient,) = torch.autograd.grad(terms.total_correlation.mean(), mean)
        mean = (mean - 20 * gradient).detach().requires_grad_()
    assert abs(torch.corrcoef(mean.detach().T)[0, 1]) < 0.5
