import math

import pytest
import torch
from pydantic import ValidationError

from genmodels.seeding import generator
from tests.conftest import presets, small_model


def test_logits_and_samples_use_the_same_pixel_range(preset, images):
    model = preset("gan_r1")
    with torch.no_grad():
        expected = model.discriminator(2 * images - 1).squeeze(1)
        model.eval()
        torch.testing.assert_close(model.discriminate(images), expected)
        z = model.sample_latent(4, generator(0, "z"))
        torch.testing.assert_close(model.decode(z), (torch.tanh(model.generator(z)) + 1) / 2)


def test_the_discriminator_loss_holds_half_gamma_times_the_unweighted_penalty(preset, images):
    plain = preset("gan_r1", penalties="none", penalty_weight=0.0)
    penalised = preset("gan_r1", penalty_weight=3.0)
    x = images[:16]
    without = plain.training_step(x.clone(), "discriminator", 0, generator(0, "step"))
    terms = penalised.training_step(x.clone(), "discriminator", 0, generator(0, "step"))
    expected = without["loss"] + 1.5 * terms["r1_penalty"]
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["r1_penalty"] > 0


def test_the_fake_batch_of_the_discriminator_carries_no_gradient_to_the_generator(preset, images):
    model = preset("gan_r1")
    model.training_step(images[:8].clone(), "discriminator", 0, generator(0, "s"))[
        "loss"
    ].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())


def test_discriminator_steps_are_updates_on_fresh_batches(preset, images):
    from genmodels.training import LoopSettings, Trainer

    model = preset("gan_r1", discriminator_steps=2, num_steps=3, batch_size=8)
    seen = []
    step = model.training_step
    model.training_step = lambda x, phase, *rest: (
        seen.append((phase, x.sum().item())),
        step(x, phase, *rest),
    )[1]
    Trainer(model, images, images[:4], LoopSettings(0, "fp32", 1, 1)).run()
    phases = [phase for phase, _ in seen]
    assert phases == ["discriminator", "discriminator", "generator"] * 3
    real = [total for phase, total in seen if phase == "discriminator"]
    assert len(set(real)) == 6


def test_recalibrated_batch_norm_gives_standard_hidden_values(preset):
    model = preset("dcgan", batch_size=64)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.mul_(1.7)  # weights that the statistics do not belong to
    model.train()
    model.recalibrate(generator(0, "recalibrate"))
    assert model.generator.training
    norms = [m for m in model.generator.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    hidden = {}
    norms[0].register_forward_hook(
        lambda m, i, o: hidden.update(x=(i[0] - m.running_mean) / m.running_var.sqrt())
    )
    model.sample(2000, generator(1, "z"))
    assert hidden["x"].mean(0).abs().max() < 0.15
    assert hidden["x"].std(0).sub(1).abs().max() < 0.15
    assert norms[0].momentum == 0.1


def test_a_discriminator_learns_to_tell_real_from_fake(digits):
    from genmodels.build import build
    from genmodels.shape import ImageShape
    from genmodels.training import LoopSettings, Trainer

    entry = presets()["gan_r1"] | {"num_steps": 60, "batch_size": 32, "width": 8}
    model = build(entry, ImageShape(1, 28, 28))
    run = Trainer(model, digits[:256], digits[256:320], LoopSettings(0, "fp32", 1, 1))
    run.run()
    assert run.history[-1]["valid/logit_gap"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discriminator_norm": "batch"}, "per-image gradient does not exist"),
        ({"penalties": "none"}, "needs a penalty_weight of 0"),
        ({"penalty_weight": 0.0}, "needs a penalty_weight of above 0"),
        ({"loss": "hinge"}, "non_saturating"),
        ({"adam_beta2": 1.0}, "less than 1"),
    ],
)
def test_combinations_that_the_theory_forbids_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        small_model(presets()["gan_r1"], **changes)


def test_the_game_starts_near_even_odds(preset, images):
    losses = [
        preset("gan_r1").training_step(images[:16].clone(), phase, 0, generator(0, "s"))["loss"]
        for phase in ("discriminator", "generator")
    ]
    assert losses[1].item() == pytest.approx(math.log(2), abs=0.3)


def test_a_discriminator_with_batch_norm_claims_no_probabilities(preset):
    assert preset("gan_r1").probabilistic
    assert not preset("dcgan").probabilistic


def test_each_player_s_buffers_change_in_its_own_phase_only(preset, images):
    model = preset("dcgan").train()
    for phase, still in (("generator", model.discriminator), ("discriminator", model.generator)):
        before = {k: v.clone() for k, v in still.named_buffers()}
        assert before
        model.training_step(images[:16].clone(), phase, 0, generator(0, "s"))
        assert all(torch.equal(v, before[k]) for k, v in still.named_buffers())


def test_the_validation_does_not_depend_on_how_the_split_is_cut(preset, images, monkeypatch):
    model = preset("dcgan")
    whole = model.validation_step(images, generator(0, "valid"))
    monkeypatch.setattr("genmodels.models.gan.SCORING_BATCH", 7)
    cut = model.validation_step(images, generator(0, "valid"))
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=1e-5, atol=1e-5)
