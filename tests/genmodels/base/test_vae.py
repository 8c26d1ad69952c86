"""Terms and importance-weighted bounds of every VAE kind."""

import math

import pytest
import torch
from torch.distributions import Normal

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.base.vae import active_units
from tests.conftest import presets, small_model
from tests.genmodels.base.vaes import KINDS, VAES, labels_of, noise, vae


@pytest.mark.parametrize("name", VAES)
def test_an_image_has_the_same_terms_alone_and_in_a_batch(name, images):
    model = small_model(presets()[name]).eval()
    x, epsilon, y = images[:6], noise(6), labels_of(small_model(presets()[name]), 6)
    together = model.terms(x, y, epsilon)
    for i in range(6):
        alone = model.terms(*Images(x, y).at(slice(i, i + 1)), epsilon[i : i + 1])
        for key in ("rate", "distortion"):
            torch.testing.assert_close(
                getattr(alone, key)[0], getattr(together, key)[i], rtol=1e-5, atol=1e-4
            )


def test_the_validation_elbo_does_not_depend_on_beta_and_warm_up(images):
    values = []
    for beta in (1.0, 20.0):
        model = vae(beta=beta, kl_warmup=1.0)
        watched = model.validation_step(images, None, generator(0, "valid"))
        values.append(watched["elbo"])
        torch.testing.assert_close(watched["elbo"], -(watched["rate"] + watched["distortion"]))
    assert torch.equal(*values)
    assert list(watched)[-1] == "elbo"


@pytest.mark.parametrize("order", ["as is", "reversed"])
def test_rate_and_distortion_do_not_depend_on_the_batch_size(order, images, monkeypatch):
    model = vae(binarize="none")
    whole = model.rate_distortion(images, generator(0, "valid"))
    monkeypatch.setattr("genmodels.base.model.scoring_batches.__defaults__", (7,))
    cut = model.rate_distortion(images, generator(0, "valid"))
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    if order == "reversed":
        rate, _ = model.rate_distortion(images.flip(0), generator(0, "valid"))
        torch.testing.assert_close(rate.flip(0), whole[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", VAES)
def test_the_importance_weight_of_one_draw_is_the_sum_of_its_terms(name, images):
    model = small_model(presets()[name], binarize="none").eval()
    y = labels_of(model, 64)
    (log_w,) = model.importance_log_weights(images, 1, generator(0, "draws"), labels=y)
    epsilon = torch.randn(64, 3, generator=generator(0, "draws"))
    terms = model.terms(images, y, epsilon)
    log_q = Normal(terms.mean, (0.5 * terms.logvar).exp()).log_prob(terms.z).sum(1)
    expected = -terms.distortion + model.prior_log_prob(terms.z) - log_q
    assert log_w.dtype == torch.float64
    torch.testing.assert_close(log_w[0], expected.double(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rows", [1, 130, 500])
def test_the_bound_does_not_depend_on_the_block_size(name, rows, images):
    model = small_model(presets()[name], dropout=0.5).train()
    y = labels_of(model, 64)
    blocks = []
    for block in model.importance_log_weights(images, 5, generator(0, "k"), y, rows=rows):
        # Between two blocks the caller has its own mode, with gradients.
        assert torch.is_grad_enabled()
        assert all(part.training for part in model.modules())
        blocks.append(block)
    assert [len(block) for block in blocks] == {1: [1] * 5, 130: [2, 2, 1], 500: [5]}[rows]
    bound = model.log_likelihood_bound(images, 5, generator(0, "k"), y)
    streamed = torch.cat(blocks).logsumexp(0) - math.log(5)
    torch.testing.assert_close(streamed, bound, rtol=1e-6, atol=1e-4)


def test_active_units_counts_the_dimensions_that_vary():
    mean = torch.zeros(1000, 4)
    mean[:, 1] = 0.05 * noise(1000, 1)[:, 0]
    mean[:, 3] = noise(1000, 1)[:, 0]
    assert active_units(mean) == 1
