import pytest
import torch

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets, small_model


def autoencoder(**changes):
    return small_model(presets()["autoencoder_gmm"], **changes)


def test_the_loss_is_distortion_plus_half_of_b_times_the_squared_length(images):
    model = autoencoder(l2=0.7)
    step = model.training_step(images, None, "autoencoder", 0, generator(0, "step"))
    z = model.encode(images)
    x_hat = model.reconstruct(images)
    sigma = model.config.sigma
    normal = torch.distributions.Normal(x_hat, sigma)
    expected = -normal.log_prob(images).flatten(1).sum(1) + 0.35 * z.square().sum(1)
    torch.testing.assert_close(step["loss"], expected.mean(), rtol=1e-5, atol=1e-3)


def test_only_the_decoder_has_weight_decay(images):
    model = autoencoder(weight_decay=0.3)
    split = Images(images, None)
    run = Trainer(model, split, split, LoopSettings(0, "fp32", 1, 1))
    decayed = {
        id(p)
        for group in run.optimizers["autoencoder"].param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    assert decayed == {id(p) for p in model.decoder.parameters() if p.dim() > 1}


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_sigma_can_be_learned_or_optimal(sigma, images):
    split = Images(images, None)
    run = Trainer(
        autoencoder(sigma=sigma, num_steps=3), split, split, LoopSettings(0, "fp32", 1, 1)
    )
    run.run()
    assert "autoencoder/log_sigma" in run.history[-1]


def test_an_autoencoder_has_no_rate_and_no_bound(images):
    model = autoencoder()
    watched = model.validation_step(images, None, generator(0, "valid"))
    assert set(watched) == {"code_squared_norm", "distortion"}
    assert not hasattr(model, "rate_distortion")


def test_samples_come_from_a_mixture_of_the_codes(images):
    model = autoencoder(gmm_components=1)
    split = Images(images, None)
    model.fit_sampler(split, generator(0, "fit"))
    drawn = model.sample_latent(5000, generator(0, "z"))
    codes = model.encode(images)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), rtol=0.1, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(correction=0), rtol=0.2, atol=0.01)


@pytest.mark.parametrize("conditional", [False, True])
def test_one_batch_can_be_overfitted(conditional, images):
    model = autoencoder(num_steps=300, batch_size=16, conditional=conditional, width=16)
    split = Images(images[:16], torch.arange(16) % 10)
    run = Trainer(model, split, split, LoopSettings(0, "fp32", 1, 1))
    run.run()
    errors = (model.reconstruct(*run.train) - images[:16]).square().mean()
    assert errors < 0.5 * (images[:16] - images[:16].mean(0)).square().mean()
