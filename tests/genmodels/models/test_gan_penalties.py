"""Gradient penalties, augmentation, weight clipping and spectral norm of kind `gan`."""

import pytest
import torch
from torch import nn

from genmodels.base.augmentation import diffaugment
from genmodels.base.model import normal
from genmodels.base.seeding import generator
from genmodels.objectives.penalties import (
    deviation_from_unit_norm,
    interpolated,
    squared_gradient_norm,
)
from tests.genmodels.models.gans import VARIANTS, gan, penalised, trainer, turn, two_sides


@pytest.mark.parametrize(
    ("name", "terms"),
    [("r1", ["r1_penalty"]), ("r2", ["r2_penalty"]), ("r1_r2", ["r1_penalty", "r2_penalty"])],
)
def test_the_loss_contains_half_gamma_times_the_unweighted_penalties(name, terms, images):
    plain = turn(gan(), images[:16])
    model = gan(**penalised(name))
    actual = turn(model, images[:16])
    assert [key for key in actual if key.endswith("_penalty")] == terms
    torch.testing.assert_close(
        actual["loss"], plain["loss"] + 1.5 * sum(actual[key] for key in terms)
    )
    for key, x in zip(("r1_penalty", "r2_penalty"), two_sides(model, images), strict=True):
        if key in terms:
            x.requires_grad_()
            norm = squared_gradient_norm(model.discriminator(x).squeeze(1), x)
            torch.testing.assert_close(actual[key], norm.mean())
            assert actual[key] > 0


def test_the_loss_contains_lambda_times_the_gradient_penalty_between_the_images(images):
    plain = turn(gan(loss="hinge"), images[:16])
    model = gan(loss="hinge", **penalised("gradient_penalty", 10.0))
    actual = turn(model, images[:16])
    torch.testing.assert_close(actual["loss"], plain["loss"] + 10 * actual["gradient_penalty"])
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))  # the draw of the latents
    x = interpolated(*two_sides(model, images), rng).requires_grad_()
    norm = squared_gradient_norm(model.discriminator(x).squeeze(1), x)
    torch.testing.assert_close(actual["gradient_penalty"], deviation_from_unit_norm(norm).mean())


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
        # The generated images differ by the rounding of bfloat16; nothing else differs.
        torch.testing.assert_close(reduced[key], exact[key], rtol=1e-2, atol=0)


def test_the_penalty_is_the_gradient_with_respect_to_the_image_before_augmentation(images):
    model = gan(augmentation="diffaugment", **penalised("r1"))
    x = images[:16]
    actual = turn(model, x)
    rng = generator(0, "step")
    normal((16, 3), rng, torch.device("cpu"))
    real = (2 * x - 1).requires_grad_()
    logits = model.discriminator(diffaugment(real, rng)).squeeze(1)
    torch.testing.assert_close(actual["logits_real"], logits.mean())
    torch.testing.assert_close(actual["r1_penalty"], squared_gradient_norm(logits, real).mean())


def test_augmentation_affects_both_phases_but_not_the_scores(images):
    plain, augmented = gan(), gan(augmentation="diffaugment")
    for phase in ("discriminator", "generator"):
        losses = [turn(model, images[:16], phase)["loss"] for model in (plain, augmented)]
        assert losses[0] != losses[1]
    assert torch.equal(plain.discriminate(images), augmented.discriminate(images))


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


def test_weight_clip_bounds_the_discriminator_but_not_the_generator(images):
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
