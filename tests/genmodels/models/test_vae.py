"""Objectives, training and settings of kind `vae`."""

import pytest
import torch
from pydantic import ValidationError

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.build import build, config_class
from genmodels.networks.shape import ImageShape
from genmodels.objectives.divergences import kl_to_standard_normal
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets
from tests.genmodels.base.vaes import KINDS, noise, vae


def test_the_loss_is_the_mean_of_distortion_plus_beta_rate(images):
    model = vae(beta=4.0, kl_warmup=0.0, binarize="none")
    step = model.training_step(images, None, "vae", 5, generator(0, "step"))
    terms = model.terms(images, None, torch.randn(64, 3, generator=generator(0, "step")))
    expected = (terms.distortion + 4 * terms.rate).mean()
    torch.testing.assert_close(step["loss"], expected)
    torch.testing.assert_close(step["elbo"], -(terms.distortion + terms.rate).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {"capacity": 5.0, "capacity_weight": 10.0, "capacity_ramp": 0.5, "kl_warmup": 0.0},
        {"free_bits": 0.2},
    ],
)
def test_penalties_on_the_batch_mean_are_invariant_to_replication(changes, images):
    model = vae(**changes)
    once = model.terms(images, None, noise(64))
    twice = model.terms(images.repeat(2, 1, 1, 1), None, noise(64).repeat(2, 1))
    step = model.config.num_steps
    rng = torch.Generator()
    torch.testing.assert_close(
        model.regularizer(once, step, rng)[0], model.regularizer(twice, step, rng)[0]
    )


def test_capacity_is_the_distance_of_the_mean_rate(images):
    model = vae(capacity=5.0, capacity_weight=10.0, capacity_ramp=0.5, kl_warmup=0.0, num_steps=100)
    terms = model.terms(images, None, noise(64))
    for step, capacity in ((0, 0.0), (25, 2.5), (50, 5.0), (99, 5.0)):
        penalty, logged = model.regularizer(terms, step, torch.Generator())
        assert logged["capacity"] == pytest.approx(capacity)
        torch.testing.assert_close(penalty, 10 * (terms.rate.mean() - capacity).abs())


def test_free_bits_are_a_floor_of_the_rate_per_dimension(images):
    model = vae(free_bits=0.01)
    terms = model.terms(images, None, noise(64))
    each = kl_to_standard_normal(terms.mean, terms.logvar).mean(0)
    expected = sum(max(0.01, value) for value in each.tolist())
    penalty, _ = model.regularizer(terms, 0, torch.Generator())
    assert penalty.item() == pytest.approx(expected, rel=1e-5)
    # The logged rate has no floor.
    assert terms.rate.mean().item() == pytest.approx(each.sum().item(), rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_one_batch_can_be_overfitted(name, digits):
    changes = {"num_steps": 200, "batch_size": 16, "kl_warmup": 1.0}
    model = build(presets()[name] | changes, ImageShape(1, 28, 28))
    split = Images(digits[:16], None)
    run = Trainer(model, split, split, LoopSettings(0, "fp32", 1, 1))
    before = model.validation_step(*split, generator(0, "valid"))["distortion"].mean()
    run.run()
    assert run.history[-1]["valid/distortion"] < 0.5 * before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 2.0, "free_bits": 0.1}, "beta: 2.0 and free_bits: 0.1 exclude one another"),
        ({"capacity": 5.0}, "capacity 5.0, which needs a capacity_weight of above 0"),
        (
            {"capacity": 5.0, "capacity_weight": 1.0},
            "contradicts capacity 5.0; set kl_warmup: 0",
        ),
        ({"capacity_ramp": 0.5}, "contradicts capacity null; set capacity_ramp: 0"),
        ({"prior": "vamp"}, "prior 'vamp' needs num_pseudo_inputs: a number"),
        ({"gmm_components": 3}, "sampler 'prior' needs gmm_components: null"),
        (
            {"prior": "vamp", "num_pseudo_inputs": 3, "conditional": True},
            "pseudo-inputs have no class",
        ),
        (
            {"prior": "vamp", "num_pseudo_inputs": 3, "free_bits": 0.1},
            "which has no rate per dimension",
        ),
        ({"beta": -1.0}, "greater than or equal to 0"),
        ({"beta": "4"}, "valid number"),
        ({"beta": float("inf")}, "finite number"),
        ({"dropout": 1.0}, "less than 1"),
        ({"architecture": "mlp"}, "contradicts architecture 'mlp'"),
        ({"likelihood": "gaussian", "sigma": 0.1}, "set binarize: none"),
        ({"sigma": 0.1}, "likelihood 'bernoulli' needs sigma: null"),
        ({"likelihood": "gaussian"}, "needs sigma: a number, learned or optimal"),
        ({"likelihood": "continuous_bernoulli"}, "models grey values; set binarize: none"),
        (
            {"likelihood": "gaussian", "sigma": "optimal", "binarize": "none", "ema_half_life": 9},
            "the error of the trained weights",
        ),
        ({"learning_rate_schedule": "constant"}, "contradicts learning_rate_schedule 'constant'"),
        (
            {
                "learning_rate_schedule": [{"step": 5, "factor": 1.0}, {"step": 5, "factor": 0.5}],
                "learning_rate_end": 1.0,
            },
            "the steps of the stages must increase",
        ),
    ],
)
def test_contradictory_settings_are_rejected(changes, message):
    with pytest.raises(ValidationError, match=message):
        config_class("vae").model_validate(presets()["vae"] | changes)


def test_a_conditional_model_needs_labels():
    with pytest.raises(ValueError, match="conditional: true needs labelled images"):
        build(presets()["vae"] | {"conditional": True}, ImageShape(1, 12, 12), 0)
