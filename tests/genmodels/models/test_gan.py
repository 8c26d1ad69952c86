"""Losses, conditioning, batch norm and training of kind `gan`."""

import math

import pytest
import torch
from torch import nn

from genmodels.base.model import Images, normal
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.normalisation import batch_norms
from genmodels.networks.shape import ImageShape
from genmodels.objectives.adversarial import LOSSES
from genmodels.objectives.penalties import (
    deviation_from_unit_norm,
    interpolated,
    squared_gradient_norm,
)
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import NUM_CLASSES
from tests.genmodels.models.gans import (
    BATCH_NORM,
    LABELS,
    PLAIN,
    VARIANTS,
    gan,
    labels,
    penalised,
    trainer,
    turn,
    two_sides,
)


def test_logits_and_samples_use_the_same_pixel_range(images):
    model = gan(**penalised("r1")).eval()
    with torch.no_grad():
        expected = model.discriminator(2 * images - 1).squeeze(1)
        torch.testing.assert_close(model.discriminate(images), expected)
        z = model.sample_latent(4, generator(0, "z"))
        torch.testing.assert_close(model.decode(z), (torch.tanh(model.generator(z)) + 1) / 2)


@pytest.mark.parametrize("name", list(LOSSES))
def test_both_phases_minimise_their_part_of_the_loss(name, images):
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
    generator_loss = turn(model, images[:16], "generator")["loss"]
    torch.testing.assert_close(generator_loss, loss.generator(a, b).mean())


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_the_generator_s_loss_has_no_gradient_through_the_real_images(loss, images):
    model = gan(loss=loss)
    for parameter in model.discriminator.parameters():
        parameter.requires_grad_(False)
    x = images[:16].clone().requires_grad_()
    turn(model, x, "generator")["loss"].backward()
    assert x.grad is None
    assert all(p.grad is not None for p in model.generator.parameters())


@pytest.mark.parametrize("name", list(VARIANTS))
def test_only_the_network_of_the_phase_gets_a_gradient(name, images):
    model = gan(**VARIANTS[name])
    for part in model.modules():
        part.rng = generator(0, "dropout")
    by_phase = {"discriminator": model.discriminator, "generator": model.generator}
    for phase, network in by_phase.items():
        for other in by_phase.values():
            other.zero_grad()
            other.requires_grad_(other is network)
        turn(model, images[:16], phase)["loss"].backward()
        for other in by_phase.values():
            has_gradient = [p.grad is not None and bool(p.grad.any()) for p in other.parameters()]
            # An output bias that shifts all logits equally has no gradient.
            assert any(has_gradient) == (other is network)
            assert other is network or not any(has_gradient)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_trains_with_finite_terms(name, images):
    run = trainer(gan(**VARIANTS[name]), images)
    before = [p.detach().clone() for p in run.model.parameters()]
    run.run()
    row = run.history[-1]
    assert all(math.isfinite(value) for value in row.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_a_conditional_discriminator_is_a_projection_on_the_class(images):
    model = gan(conditional=True).eval()
    x, y = images[:16], LABELS[:16]
    with torch.no_grad():
        *below, last = model.discriminator
        features = nn.Sequential(*below)(2 * x - 1)
        common = features @ last.weight[0] + last.bias[0]
        of_class = (features * last.weight[1 + y]).sum(1) + last.bias[1 + y]
    torch.testing.assert_close(model.discriminate(x, y), common + of_class)


def test_the_output_of_a_conditional_generator_depends_on_the_class(images):
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
    actual = turn(model, images[:16])
    torch.testing.assert_close(actual["logits_real"], a.mean())
    torch.testing.assert_close(actual["logits_fake"], b.mean())
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))
    x = interpolated(real, fake, rng).requires_grad_()
    outputs = model.discriminator(x)
    logits = outputs[:, 0] + outputs[torch.arange(16), 1 + LABELS[:16]]
    penalty = deviation_from_unit_norm(squared_gradient_norm(logits, x)).mean()
    torch.testing.assert_close(actual["gradient_penalty"], penalty)


def test_betas_are_floats_in_the_optimisers(images):
    model = gan(adam_beta1=0, adam_beta2=0, adam_beta2_end=0)
    run = trainer(model, images)
    run.run()
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            assert [type(beta) for beta in group["betas"]] == [float, float]


def test_each_discriminator_step_uses_a_new_batch(images):
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
            p.mul_(1.7)  # new weights, so that the statistics are stale
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
def test_a_trained_discriminator_separates_real_from_generated_images(name, digits):
    settings = VARIANTS[name] | {"num_steps": 60, "batch_size": 32, "width": 8}
    model = build(PLAIN | settings, ImageShape(1, 28, 28))
    train, valid = Images(digits[:256], None), Images(digits[256:320], None)
    run = Trainer(model, train, valid, LoopSettings(0, "fp32", 1, 1))
    run.run()
    assert run.history[-1]["valid/logit_gap"] > 0
    assert run.history[-1]["discriminator/accuracy"] > 0.6


def test_buffers_of_a_network_change_in_its_own_phase_only(images):
    for norms in (BATCH_NORM, {"discriminator_norm": "spectral", "generator_norm": "batch"}):
        model = gan(loss="relativistic", **norms).train()
        by_phase = {"discriminator": model.discriminator, "generator": model.generator}
        for phase in by_phase:
            before = {k: v.clone() for k, v in model.named_buffers()}
            turn(model, images[:16], phase)
            changed = {k.split(".")[0] for k, v in model.named_buffers() if (v != before[k]).any()}
            assert changed == {phase}


@pytest.mark.parametrize("conditional", [False, True])
def test_the_validation_does_not_depend_on_the_batch_size(conditional, images, monkeypatch):
    model = gan(conditional=conditional, **BATCH_NORM)
    y = labels(model, 64)
    whole = model.validation_step(images, y, generator(0, "valid"))
    monkeypatch.setattr("genmodels.base.model.scoring_batches.__defaults__", (7,))
    cut = model.validation_step(images, y, generator(0, "valid"))
    assert list(whole) == ["logits_real", "logits_fake", "logit_gap"]
    for key, value in whole.items():
        torch.testing.assert_close(cut[key], value, rtol=1e-5, atol=1e-5)
