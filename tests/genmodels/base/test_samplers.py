"""The Gaussian mixture sampler."""

import pytest
import torch
from sklearn.mixture import GaussianMixture

from genmodels.base.samplers import MixtureSampler


@pytest.fixture(scope="module")
def codes():
    rng = torch.Generator().manual_seed(0)
    mix = torch.randn(3, 4, 4, generator=rng)
    noise = torch.randn(900, 4, generator=rng)
    centre = torch.arange(900) % 3
    return torch.einsum("nij,nj->ni", 0.3 * mix[centre], noise) + 2.0 * centre.unsqueeze(1)


def test_a_mixture_from_its_state_is_scikit_learns(codes):
    fitted = MixtureSampler(3, 4)
    fitted.fit(codes, seed=5)
    loaded = MixtureSampler(3, 4)
    loaded.load_state_dict(fitted.state_dict())
    peer = GaussianMixture(3, max_iter=2000, reg_covar=1e-6, random_state=5).fit(
        codes.double().numpy()
    )
    expected = torch.from_numpy(peer.score_samples(codes.double().numpy())).float()
    torch.testing.assert_close(loaded.log_prob(codes), expected, rtol=1e-4, atol=1e-4)


def test_draws_have_the_moments_of_the_codes(codes):
    mixture = MixtureSampler(3, 4)
    mixture.fit(codes, seed=0)
    drawn = mixture.sample(20_000, torch.Generator().manual_seed(1))
    # EM preserves the overall moments of the data.
    error = 4 * codes.std(0) * (1 / len(drawn)) ** 0.5
    assert ((drawn.mean(0) - codes.mean(0)).abs() < error).all()
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(correction=0), rtol=0.06, atol=0.1)


def test_few_codes_give_fewer_components_with_positive_weight(codes):
    mixture = MixtureSampler(10, 4)
    mixture.fit(codes[:120], seed=0)
    assert (mixture.weights > 0).sum() == 2
    assert mixture.weights.sum().item() == pytest.approx(1)
    assert mixture.log_prob(codes[:5]).isfinite().all()
    drawn = mixture.sample(2000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), codes[:120].mean(0), rtol=0, atol=0.3)


def test_each_group_has_its_own_mixture(codes):
    groups = torch.arange(len(codes)) % 3
    shifted = codes + 10.0 * groups[:, None]
    mixture = MixtureSampler(2, 4, num_groups=4)
    mixture.fit(shifted, seed=0, groups=groups)
    draw_groups = torch.tensor([0, 2, 1]).repeat(3000)
    drawn = mixture.sample(len(draw_groups), torch.Generator().manual_seed(1), draw_groups)
    for group in range(3):
        draws, expected = drawn[draw_groups == group], shifted[groups == group]
        error = 4 * expected.std(0) * (1 / len(draws)) ** 0.5
        assert ((draws.mean(0) - expected.mean(0)).abs() < error).all()
    with pytest.raises(RuntimeError, match="not fitted"):  # group 3 has no codes
        mixture.sample(1, torch.Generator(), torch.tensor([3]))


def test_a_group_of_one_code_draws_that_code(codes):
    mixture = MixtureSampler(2, 4, num_groups=2)
    mixture.fit(codes[:101], seed=0, groups=torch.tensor([0] * 100 + [1]))
    drawn = mixture.sample(50, torch.Generator().manual_seed(1), torch.ones(50, dtype=torch.int64))
    torch.testing.assert_close(drawn, codes[100].expand(50, -1), rtol=0, atol=0.01)


def test_sampling_before_the_fit_is_an_error():
    with pytest.raises(RuntimeError, match="not fitted"):
        MixtureSampler(2, 3).sample(1, torch.Generator())


def test_the_fit_does_not_touch_the_global_generators(codes):
    import numpy as np

    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state()
    expected = np.random.RandomState(3).rand()
    MixtureSampler(3, 4).fit(codes, seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert np.random.rand() == expected  # noqa: NPY002
