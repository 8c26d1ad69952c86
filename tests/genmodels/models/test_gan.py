"""The options of kind `gan`: what each adds to the game, and which do not fit together."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from genmodels.base.augmentation import diffaugment
from genmodels.base.model import Images, normal
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.blocks import batch_norms
from genmodels.networks.shape import ImageShape
from genmodels.objectives.adversarial import LOSSES
from genmodels.objectives.penalties import (
    deviation_from_unit_norm,
    interpolated,
    squared_gradient_norm,
)
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import NUM_CLASSES

PLAIN = {
    "kind": "gan",
    "num_steps": 4,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "learning_rate_end": 1.0,
    "adam_beta1": 0.0,
    "adam_beta2": 0.99,
    "adam_beta2_end": 0.99,
    "weight_decay": 0.0,
    "clip_norm": None,
    "ema_half_life": 0,
    "architecture": "conv",
    "width": 4,
    "depth": 1,
    "head_width": 8,
    "head_depth": 0,
    "activation": "leaky_relu",
    "dropout": 0.0,
    "latent_dim": 3,
    "conditional": False,
    "loss": "non_saturating",
    "penalties": "none",
    "penalty_weight": 0.0,
    "penalty_weight_end": 1.0,
    "weight_clip": None,
    "discriminator_norm": "none",
    "generator_norm": "none",
    "discriminator_steps": 1,
    "augmentation": "none",
}
BATCH_NORM = {"discriminator_norm": "batch", "generator_norm": "batch"}
LABELS = torch.arange(64) % NUM_CLASSES


def penalised(name, weight=3.0, **changes):
    return {"penalties": name, "penalty_weight": weight} | changes


#: Every option at least once.
VARIANTS = {
    "plain": {},
    "dcgan": BATCH_NORM,
    "minimax": {"loss": "minimax"},
    "lsgan": {"loss": "least_squares"},
    "sngan": {"loss": "hinge", "discriminator_norm": "spectral"},
    "wgan": {"loss": "wasserstein", "weight_clip": 0.01},
    "wgan_gp": {"loss": "wasserstein"} | penalised("gradient_penalty", 10.0),
    "r1": penalised("r1"),
    "r2": penalised("r2"),
    "r3gan": {"loss": "relativistic"} | penalised("r1_r2", penalty_weight_end=0.1),
    "augmented": {"augmentation": "diffaugment"} | penalised("r1"),
    "conditional": {"conditional": True} | penalised("r1_r2"),
    "dropout": {"dropout": 0.3},
}


def gan(**changes):
    model = build(PLAIN | changes, ImageShape(1, 12, 12), NUM_CLASSES)
    labels = torch.arange(NUM_CLASSES) if model.conditional else None
    start = Images(torch.zeros(NUM_CLASSES, 1, 12, 12), labels)
    model.initialise(generator(0, "weights"), start)
    return model


def labels(model, n=16):
    return LABELS[:n] if model.conditional else None


def turn(model, x, phase="discriminator", step=0):
    return model.training_step(x, labels(model, len(x)), phase, step, generator(0, "step"))


def trainer(model, images, seed=0):
    data = Images(images, LABELS[: len(images)])
    settings = LoopSettings(seed, "fp32", 1, 1)
    return Trainer(model, data.at(slice(48)), data.at(slice(48, None)), settings)


def two_sides(model, images):
    """Real and generated images in [-1, 1] as the discriminator's phase has them."""
    z = normal((16, 3), generator(0, "step"), torch.device("cpu"))
    return 2 * images[:16] - 1, 2 * model.decode(z, labels(model)) - 1


def test_logits_and_samples_use_the_same_pixel_range(images):
    model = gan(**penalised("r1")).eval()
    with torch.no_grad():
        expected = model.discriminator(2 * images - 1).squeeze(1)
        torch.testing.assert_close(model.discriminate(images), expected)
        z = model.sample_latent(4, generator(0, "z"))
        torch.testing.assert_close(model.decode(z), (torch.tanh(model.generator(z)) + 1) / 2)


@pytest.mark.parametrize("name", list(LOSSES))
def test_both_phases_play_the_game_of_the_loss(name, images):
    bound = {"discriminator_norm": "spectral"} if name == "wasserstein" else {}
    model, loss = gan(loss=name, **bound).eval(), LOSSES[name]
    real, fake = two_sides(model, images)
    with torch.no_grad():
        a, b = (model.discriminator(x).squeeze(1) for x in (real, fake))
    terms = turn(model, images[:16])
    torch.testing.assert_close(terms["loss"], loss.discriminator(a, b).mean())
    torch.testing.assert_close(terms["logits_real"], a.mean())
    torch.testing.assert_close(terms["logits_fake"], b.mean())
    torch.testing.assert_close(terms["logit_gap"], a.mean() - b.mean())
    torch.testing.assert_close(terms["accuracy"], loss.accuracy(a, b))
    played = turn(model, images[:16], "generator")["loss"]
    torch.testing.assert_close(played, loss.generator(a, b).mean())


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_the_generator_s_loss_has_no_gradient_through_the_real_images(loss, images):
    model = gan(loss=loss)
    for parameter in model.discriminator.parameters():
        parameter.requires_grad_(False)
    x = images[:16].clone().requires_grad_()
    turn(model, x, "generator")["loss"].backward()
    assert x.grad is None
    assert all(p.grad is not None for p in model.generator.parameters())


@pytest.mark.parametrize(
    ("name", "terms"),
    [("r1", ["r1_penalty"]), ("r2", ["r2_penalty"]), ("r1_r2", ["r1_penalty", "r2_penalty"])],
)
def test_the_loss_holds_half_gamma_times_the_unweighted_penalties(name, terms, images):
    plain = turn(gan(), images[:16])
    model = gan(**penalised(name))
    got = turn(model, images[:16])
    assert [key for key in got if key.endswith("_penalty")] == terms
    torch.testing.assert_close(got["loss"], plain["loss"] + 1.5 * sum(got[key] for key in terms))
    for key, x in zip(("r1_penalty", "r2_penalty"), two_sides(model, images), strict=True):
        if key in terms:
            x.requires_grad_()
            norm = squared_gradient_norm(model.discriminator(x).squeeze(1), x)
            torch.testing.assert_close(got[key], norm.mean())
            assert got[key] > 0


def test_the_loss_holds_lambda_times_the_gradient_penalty_between_the_images(images):
    plain = turn(gan(loss="hinge"), images[:16])
    model = gan(loss="hinge", **penalised("gradient_penalty", 10.0))
    got = turn(model, images[:16])
    torch.testing.assert_close(got["loss"], plain["loss"] + 10 * got["gradient_penalty"])
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))  # the latents come first
    x = interpolated(*two_sides(model, images), rng).requires_grad_()
    norm = squared_gradient_norm(model.discriminator(x).squeeze(1), x)
    torch.testing.assert_close(got["gradient_penalty"], deviation_from_unit_norm(norm).mean())


@pytest.mark.parametrize("name", list(VARIANTS))
def test_only_the_phase_s_own_player_gets_a_gradient(name, images):
    model = gan(**VARIANTS[name])
    for part in model.modules():
        part.rng = generator(0, "dropout")
    players = {"discriminator": model.discriminator, "generator": model.generator}
    for phase, player in players.items():
        for other in players.values():
            other.zero_grad()
            other.requires_grad_(other is player)
        turn(model, images[:16], phase)["loss"].backward()
        for other in players.values():
            given = [p.grad is not None and bool(p.grad.any()) for p in other.parameters()]
            # An output bias that shifts all logits alike has no gradient.
            assert any(given) == (other is player)
            assert other is player or not any(given)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_trains_with_finite_terms(name, images):
    run = trainer(gan(**VARIANTS[name]), images)
    before = [p.detach().clone() for p in run.model.parameters()]
    run.run()
    row = run.history[-1]
    assert all(math.isfinite(value) for value in row.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["r1", "r3gan", "wgan_gp", "augmented"])
def test_the_penalty_is_computed_in_float32_under_autocast(name, images):
    model = gan(**VARIANTS[name])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = turn(model, images[:16])
    seen = []
    model.discriminator.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        turn(model, images[:16])
        assert set(seen) == {torch.float32}
        turn(model, images[:16], "generator")
    assert seen[-1] == torch.bfloat16
    exact = turn(model, images[:16])
    for key in (key for key in exact if key.endswith("penalty")):
        # Only the generated images differ, by the rounding of bfloat16.
        torch.testing.assert_close(reduced[key], exact[key], rtol=1e-2, atol=0)


def test_the_penalty_is_of_the_whole_image_while_the_discriminator_sees_the_augmented_one(images):
    model = gan(augmentation="diffaugment", **penalised("r1"))
    x = images[:16]
    got = turn(model, x)
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))
    real = (2 * x - 1).requires_grad_()
    logits = model.discriminator(diffaugment(real, rng)).squeeze(1)
    torch.testing.assert_close(got["logits_real"], logits.mean())
    torch.testing.assert_close(got["r1_penalty"], squared_gradient_norm(logits, real).mean())


def test_augmentation_reaches_both_phases_and_not_the_scores(images):
    plain, augmented = gan(), gan(augmentation="diffaugment")
    for phase in ("discriminator", "generator"):
        losses = [turn(model, images[:16], phase)["loss"] for model in (plain, augmented)]
        assert losses[0] != losses[1]
    assert torch.equal(plain.discriminate(images), augmented.discriminate(images))


def test_a_conditional_discriminator_is_a_projection_on_the_class(images):
    model = gan(conditional=True).eval()
    x, y = images[:16], LABELS[:16]
    with torch.no_grad():
        *below, last = model.discriminator
        features = nn.Sequential(*below)(2 * x - 1)
        common = features @ last.weight[0] + last.bias[0]
        of_class = (features * last.weight[1 + y]).sum(1) + last.bias[1 + y]
    torch.testing.assert_close(model.discriminate(x, y), common + of_class)


def test_a_conditional_generator_is_told_the_class(images):
    model = gan(conditional=True)
    z = model.sample_latent(1, generator(0, "z")).expand(NUM_CLASSES, -1)
    classes = model.decode(z, torch.arange(NUM_CLASSES))
    assert len({image.numpy().tobytes() for image in classes}) == NUM_CLASSES
    with pytest.raises(ValueError, match="needs labels"):
        model.decode(z)
    with pytest.raises(ValueError, match="needs labels"):
        model.discriminate(images)


def test_a_generated_image_has_the_class_of_its_real_partner(images):
    model = gan(conditional=True, loss="wasserstein", **penalised("gradient_penalty", 10.0))
    real, fake = two_sides(model, images)
    a, b = (model.discriminate((x + 1) / 2, LABELS[:16]) for x in (real, fake))
    got = turn(model, images[:16])
    torch.testing.assert_close(got["logits_real"], a.mean())
    torch.testing.assert_close(got["logits_fake"], b.mean())
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))
    x = interpolated(real, fake, rng).requires_grad_()
    outputs = model.discriminator(x)
    logits = outputs[:, 0] + outputs[torch.arange(16), 1 + LABELS[:16]]
    penalty = deviation_from_unit_norm(squared_gradient_norm(logits, x)).mean()
    torch.testing.assert_close(got["gradient_penalty"], penalty)


def test_the_penalty_weight_and_beta2_follow_a_cosine(images):
    model = gan(num_steps=100, adam_beta2=0.9, adam_beta2_end=0.99, **VARIANTS["r3gan"])
    config = model.config
    assert [config.penalty_weight_at(step) for step in (0, 50, 100, 200)] == pytest.approx(
        [3.0, 1.65, 0.3, 0.3]
    )
    assert [config.betas_at(step)[1] for step in (0, 50, 100)] == pytest.approx([0.9, 0.945, 0.99])
    start, end = turn(model, images[:16], step=0), turn(model, images[:16], step=100)
    penalty = start["r1_penalty"] + start["r2_penalty"]
    torch.testing.assert_close(start["loss"] - end["loss"], 0.5 * 2.7 * penalty)
    assert end["penalty_weight"].item() == pytest.approx(0.3)
    assert "penalty_weight" not in turn(gan(**penalised("r1")), images[:16])


def test_betas_are_floats_in_the_optimisers(images):
    model = gan(adam_beta1=0, adam_beta2=0, adam_beta2_end=0)
    run = trainer(model, images)
    run.run()
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            assert [type(beta) for beta in group["betas"]] == [float, float]


def test_clipped_weights_stay_in_their_box_and_the_generator_s_are_free(images):
    model = gan(**VARIANTS["wgan"])
    trainer(model, images).run()
    assert max(p.abs().max().item() for p in model.discriminator.parameters()) <= 0.01 + 1e-9
    assert max(p.abs().max().item() for p in model.generator.parameters()) > 0.1


@pytest.mark.parametrize("loss", ["hinge", "non_saturating"])
def test_spectral_norm_bounds_every_layer(loss, images):
    model = gan(loss=loss, discriminator_norm="spectral", learning_rate=2e-4, num_steps=50)
    trainer(model, images).run()
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        original = layer.parametrizations.weight.original.detach()
        assert torch.linalg.matrix_norm(original.flatten(1), 2) != pytest.approx(1, abs=0.1)
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) <= 1.05
    before = {key: value.clone() for key, value in model.discriminator.named_buffers()}
    assert before
    model.discriminate(images)
    assert all(
        torch.equal(value, before[key]) for key, value in model.discriminator.named_buffers()
    )


def test_discriminator_steps_are_updates_on_fresh_batches(images):
    model = gan(discriminator_steps=2, num_steps=3, batch_size=8)
    seen = []
    step = model.training_step
    model.training_step = lambda x, y, phase, *rest: (
        seen.append((phase, x.sum().item())),
        step(x, y, phase, *rest),
    )[1]
    trainer(model, images).run()
    phases = [phase for phase, _ in seen]
    assert phases == ["discriminator", "discriminator", "generator"] * 3
    real = [total for phase, total in seen if phase == "discriminator"]
    assert len(set(real)) == 6


@pytest.mark.parametrize("conditional", [False, True])
def test_recalibrated_batch_norm_gives_standard_hidden_values(conditional):
    model = gan(batch_size=64, conditional=conditional, **BATCH_NORM)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.mul_(1.7)  # weights that the statistics do not belong to
    model.train()
    model.recalibrate(generator(0, "recalibrate"))
    assert model.generator.training
    norm = batch_norms(model.generator)[0]
    hidden = {}
    norm.register_forward_hook(
        lambda m, i, o: hidden.update(x=(i[0] - m.running_mean) / m.running_var.sqrt())
    )
    model.sample(2000, generator(1, "z"))
    assert hidden["x"].mean(0).abs().max() < 0.15
    assert hidden["x"].std(0).sub(1).abs().max() < 0.15
    assert norm.momentum == 0.1


def test_batch_norm_is_recalibrated_with_the_classes_of_the_training_images(images):
    model = gan(conditional=True, **BATCH_NORM)
    y = torch.tensor([2] * 48 + [7] * 16)
    model.initialise(generator(0, "weights"), Images(images, y))
    labels = model._training_labels(4000, generator(0, "recalibrate"))
    share = (labels == 7).double().mean().item()
    assert set(labels.tolist()) == {2, 7}
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)


@pytest.mark.parametrize("name", ["plain", "lsgan", "sngan", "wgan_gp", "r1", "r3gan"])
def test_a_discriminator_learns_to_tell_real_from_fake(name, digits):
    settings = VARIANTS[name] | {"num_steps": 60, "batch_size": 32, "width": 8}
    model = build(PLAIN | settings, ImageShape(1, 28, 28))
    train, valid = Images(digits[:256], None), Images(digits[256:320], None)
    run = Trainer(model, train, valid, LoopSettings(0, "fp32", 1, 1))
    run.run()
    assert run.history[-1]["valid/logit_gap"] > 0
    assert run.history[-1]["discriminator/accuracy"] > 0.6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (penalised("r1", discriminator_norm="batch"), "per-image gradient does not exist"),
        (penalised("r1_r2", discriminator_norm="batch"), "per-image gradient does not exist"),
        ({"penalty_weight": 1.0}, "needs a penalty_weight of 0"),
        (penalised("r1", 0.0), "needs a penalty_weight of above 0"),
        ({"penalty_weight_end": 0.1}, "no weight to schedule"),
        ({"loss": "wasserstein"}, "falls without end"),
        ({"loss": "wasserstein", "discriminator_norm": "batch"}, "falls without end"),
        (
            {"loss": "wasserstein", "penalty_weight_end": 0.0}
            | penalised("gradient_penalty", 10.0),
            "falls without end",
        ),
        ({"loss": "hinge", "weight_clip": 0.01}, "logits of a certain size"),
        ({"loss": "wasserstein", "weight_clip": 0.1} | penalised("r1"), "bounds the same slope"),
        (
            {"loss": "wasserstein", "weight_clip": 0.1, "discriminator_norm": "spectral"},
            "bounds the same slope",
        ),
        ({"architecture": "rnn", "generator_norm": "batch"}, "'rnn' has no normalisation"),
        ({"architecture": "rnn", "discriminator_norm": "spectral"}, "'rnn' has no normalisation"),
        ({"generator_norm": "spectral"}, "'none' or 'batch'"),
        ({"loss": "vanilla"}, "non_saturating"),
        ({"adam_beta2": 1.0}, "less than 1"),
        ({"adam_beta2_end": 1.0}, "less than 1"),
    ],
)
def test_combinations_that_the_theory_forbids_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        gan(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "wasserstein", "weight_clip": 0.01} | BATCH_NORM,  # as published
        {"loss": "wasserstein", "discriminator_norm": "spectral"},
        {"loss": "wasserstein"} | penalised("r1"),
        {"loss": "relativistic"} | BATCH_NORM,
        {"discriminator_norm": "spectral"} | penalised("r1_r2"),
        {"loss": "hinge"} | penalised("gradient_penalty"),
        {"architecture": "rnn"} | penalised("r1"),
    ],
)
def test_combinations_that_make_sense_are_accepted(changes, images):
    terms = turn(gan(**changes), images[:16])
    assert terms["loss"].isfinite()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"loss": "minimax"}, True),
        (penalised("r1"), True),
        (BATCH_NORM, False),
        ({"augmentation": "diffaugment"}, False),
        ({"loss": "least_squares"}, False),
        ({"loss": "hinge"}, False),
        ({"loss": "relativistic"}, False),
    ],
)
def test_only_logistic_logits_of_single_whole_images_claim_to_be_log_odds(changes, expected):
    assert gan(**changes).probabilistic == expected


def test_each_player_s_buffers_change_in_its_own_phase_only(images):
    for norms in (BATCH_NORM, {"discriminator_norm": "spectral", "generator_norm": "batch"}):
        model = gan(loss="relativistic", **norms).train()
        players = {"discriminator": model.discriminator, "generator": model.generator}
        for phase in players:
            before = {k: v.clone() for k, v in model.named_buffers()}
            turn(model, images[:16], phase)
            changed = {k.split(".")[0] for k, v in model.named_buffers() if (v != before[k]).any()}
            assert changed == {phase}


@pytest.mark.parametrize("conditional", [False, True])
def test_the_validation_does_not_depend_on_how_the_split_is_cut(conditional, images, monkeypatch):
    model = gan(conditional=conditional, **BATCH_NORM)
    y = labels(model, 64)
    whole = model.validation_step(images, y, generator(0, "valid"))
    monkeypatch.setattr("genmodels.models.gan.SCORING_BATCH", 7)
    cut = model.validation_step(images, y, generator(0, "valid"))
    assert list(whole) == ["logits_real", "logits_fake", "logit_gap"]
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=1e-5, atol=1e-5)
