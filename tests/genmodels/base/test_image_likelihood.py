"""Sigma, binarisation and the initial decoder of models with a likelihood."""

import pytest
import torch

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets
from tests.genmodels.base.vaes import GAUSSIAN, noise, vae


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous_bernoulli"])
def test_the_initial_decoder_with_zero_weights_outputs_the_mean_image(likelihood, images):
    other = {"binarize": "none"}
    sigma = {"sigma": 0.1 if likelihood == "gaussian" else None}
    for architecture in ("mlp", "conv"):
        head = {"head_depth": 0} if architecture == "mlp" else {}
        changes = {"architecture": architecture, "likelihood": likelihood}
        model = build(
            presets()["vae"] | {"latent_dim": 3} | changes | sigma | other | head,
            ImageShape(1, 12, 12),
        )
        model.initialise(generator(0, "weights"), Images(images, None))
        for parameter in model.decoder.parameters():
            if parameter.dim() > 1:
                parameter.data.zero_()
        mean = images.mean(0)
        expected = (
            mean.clamp(0.001, 0.999) if architecture == "mlp" else mean.mean().expand_as(mean)
        )
        torch.testing.assert_close(
            model.decode(torch.zeros(1, 3))[0], expected, rtol=1e-3, atol=1e-4
        )


def test_the_optimal_sigma_changes_in_training_mode_only(images):
    model = vae(**GAUSSIAN, sigma="optimal")
    model.initialise(generator(0, "weights"), Images(images, None))
    start = (images - images.mean(0)).square().mean()
    torch.testing.assert_close(model.mean_squared_error, start)
    model.train().terms(images, None, noise(64))
    moved = model.mean_squared_error.clone()
    assert moved != start
    torch.testing.assert_close(moved, start, rtol=0.1, atol=0)
    model.eval()
    alone = model.terms(images[:1], None, noise(64)[:1]).distortion
    among = model.terms(images, None, noise(64)).distortion
    torch.testing.assert_close(alone[0], among[0])
    assert torch.equal(model.mean_squared_error, moved)


def test_a_learned_sigma_has_its_own_learning_rate(images):
    model = vae(**GAUSSIAN, sigma="learned", num_steps=2, learning_rate=1e-3)
    run = Trainer(model, Images(images, None), Images(images, None), LoopSettings(0, "fp32", 1, 1))
    start = model.log_sigma.item()
    assert start == pytest.approx(0.5 * (images - images.mean(0)).square().mean().log().item())
    run._one_step(0)
    assert abs(model.log_sigma.item() - start) == pytest.approx(1e-2, rel=0.01)
    assert "vae/log_sigma" in run._terms.values


def test_log_sigma_has_a_lower_bound():
    model = vae(**GAUSSIAN, sigma="learned")
    model.log_sigma.data.fill_(-50.0)
    assert model.likelihood.log_sigma.item() == -6.0


def test_static_binarisation_is_drawn_once(images):
    model = vae(binarize="static")
    run = Trainer(model, Images(images, None), Images(images, None), LoopSettings(0, "fp32", 1, 1))
    assert set(run.train.x.unique().tolist()) == {0.0, 1.0}
    again = model.observe(run.train.x, model.pixel_noise(run.train.x, generator(3, "other")))
    assert torch.equal(again, run.train.x)
    assert torch.equal(run.valid.x, images)


def test_dynamic_binarisation_is_a_draw_of_the_grey_values():
    model = vae()
    x = torch.full((20000, 1, 1, 1), 0.3)
    drawn = model.observe(x, model.pixel_noise(x, generator(0, "pixels")))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / 20000) ** 0.5)
