import pytest
import torch
from pydantic import ValidationError

from genmodels.seeding import generator
from tests.conftest import presets, small_model


def terms(model, x, step=10**6):
    return model.training_step(x, "vae", step, generator(0, "noise"))


def test_the_loss_is_distortion_plus_beta_times_rate(preset, images):
    for beta in (0.0, 1.0, 4.0):
        got = terms(preset("beta_vae", beta=beta), images)
        expected = got["distortion"] + beta * got["rate"]
        torch.testing.assert_close(got["loss"], expected)
        torch.testing.assert_close(got["elbo"], -(got["distortion"] + got["rate"]))


def test_beta_rises_linearly_during_the_warm_up(preset):
    model = preset("beta_vae", beta=4.0, beta_warmup=0.5, num_steps=100)
    assert [model.beta_at(step) for step in (0, 25, 50, 99)] == [0.0, 2.0, 4.0, 4.0]
    assert preset("beta_vae", beta=4.0, beta_warmup=0.0).beta_at(0) == 4.0


def test_the_validation_elbo_does_not_depend_on_beta(images):
    values = [
        small_model(presets()["vae"], beta=beta).validation_step(images, generator(0, "valid"))
        for beta in (0.1, 10.0)
    ]
    assert torch.equal(values[0]["elbo"], values[1]["elbo"])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_batch_size_does_not_enter_the_objective(likelihood, images):
    model = small_model(presets()["vae"], **settings_of(likelihood))
    rate, distortion = model.rate_distortion(images, generator(0, "noise"))
    noise = model.pixel_noise(images, rng := generator(0, "noise"))
    epsilon = torch.randn((len(images), 3), generator=rng)
    for i in (0, 17, 63):
        x = model.observe(images[i : i + 1], None if noise is None else noise[i : i + 1])
        with torch.no_grad():
            alone = model._terms(x, epsilon[i : i + 1])
        torch.testing.assert_close(alone[0][0], rate[i], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone[1][0], distortion[i], rtol=1e-5, atol=1e-4)


def settings_of(likelihood):
    if likelihood == "bernoulli":
        return {"likelihood": "bernoulli", "sigma": None, "binarize": "dynamic"}
    return {"likelihood": "gaussian", "sigma": 0.1, "binarize": "none"}


def test_rate_and_distortion_do_not_depend_on_how_a_split_is_cut(preset, images, monkeypatch):
    model = preset("vae")
    whole = model.rate_distortion(images, generator(0, "noise"))
    monkeypatch.setattr("genmodels.vae_base.SCORING_BATCH", 7)
    cut = model.rate_distortion(images, generator(0, "noise"))
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5)


def test_dynamic_binarisation_is_a_draw_of_the_grey_values(preset):
    model = preset("vae")
    x = torch.full((20000, 1, 1, 1), 0.3)
    drawn = model.observe(x, model.pixel_noise(x, generator(0, "pixels")))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / 20000) ** 0.5)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_an_untrained_decoder_with_zero_weights_shows_the_mean_image(architecture):
    model = small_model(presets()["vae"], architecture=architecture, head_depth=0)
    mean = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    model.initialise(generator(0, "weights"), mean)
    with torch.no_grad():
        list(model.decoder.modules())
        last = [p for p in model.decoder.modules() if hasattr(p, "weight")][-1]
        last.weight.zero_()
    shown = model.decode(torch.zeros(1, 3))[0]
    expected = mean if architecture == "mlp" else mean.mean().expand_as(mean)
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-6)


def test_a_reconstruction_decodes_the_posterior_mean(preset, images):
    model = preset("vae")
    mean, logvar = model.encode(images)
    assert mean.shape == logvar.shape == (64, 3)
    assert torch.equal(model.reconstruct(images), model.decode(mean))


@pytest.mark.parametrize("name", ["vae", "beta_vae"])
def test_one_batch_can_be_learned_by_heart(name, digits):
    from genmodels.build import build
    from genmodels.shape import ImageShape
    from genmodels.training import LoopSettings, Trainer

    entry = presets()[name] | {"num_steps": 200, "batch_size": 16, "width": 16, "beta": 0.1}
    model = build(entry, ImageShape(1, 28, 28))
    x = digits[:16]
    run = Trainer(model, x, x, LoopSettings(0, "fp32", 1, 1))
    before = model.validation_step(x, generator(0, "valid"))["distortion"].mean()
    run.run()
    assert run.history[-1]["valid/distortion"] < 0.5 * before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": -1.0}, "greater than or equal to 0"),
        ({"likelihood": "gaussian"}, "needs sigma: a number"),
        ({"sigma": 0.1}, "needs sigma: null"),
        ({"likelihood": "gaussian", "sigma": 0.1}, "set binarize: none"),
        ({"learning_rate_schedule": "constant"}, "contradicts learning_rate_schedule"),
        ({"beta": "4"}, "valid number"),
        ({"dropout": 1.0}, "less than 1"),
        ({"beta": float("inf")}, "finite number"),
        ({"architecture": "mlp"}, "contradicts architecture 'mlp'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        small_model(presets()["vae"], **changes)
