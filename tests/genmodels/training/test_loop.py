import pytest
import torch

from genmodels.base.model import Images, Phase
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets, small_model

SETTINGS = LoopSettings(0, "fp32", 3, 4)
CONSTANT = {"learning_rate_schedule": "constant", "learning_rate_end": 1.0}


def make(images, name="vae", **changes):
    split = Images(images, None)
    model = small_model(presets()[name], **changes)
    return Trainer(model, split.at(slice(48)), split.at(slice(48, None)), SETTINGS)


def test_an_epoch_sees_each_image_once(images):
    run = make(images, batch_size=8)
    epoch = torch.cat([run._batch(number).x for number in range(6)])
    assert torch.equal(epoch.flatten(1).sum(1).sort()[0], images[:48].flatten(1).sum(1).sort()[0])
    assert not torch.equal(run._batch(0).x, run._batch(6).x)
    assert torch.equal(run._batch(6).x, make(images, batch_size=8)._batch(6).x)


def test_a_label_stays_with_its_image(images):
    model = small_model(presets()["vae"], conditional=True)
    # The pixel values encode the index of the image.
    numbered = torch.arange(64).reshape(-1, 1, 1, 1).expand(-1, 1, 12, 12) / 64
    split = Images(numbered, torch.arange(64) % 10)
    batch = Trainer(model, split, split, SETTINGS)._batch(2)
    assert torch.equal((batch.x[:, 0, 0, 0] * 64).long() % 10, batch.y)


def test_the_history_has_a_row_an_epoch_and_one_at_the_end(images):
    run = make(images, num_steps=8)  # 3 steps an epoch
    run.run()
    assert [row["step"] for row in run.history] == [3, 6, 8]
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    assert len({tuple(row) for row in run.history}) == 1


def test_a_long_history_has_rows_at_multiples_of_whole_epochs(images, monkeypatch):
    monkeypatch.setattr("genmodels.training.loop.MAX_ROWS", 2)
    run = make(images, num_steps=12)
    run.run()
    assert [row["epoch"] for row in run.history] == [2, 4]


def test_snapshots_are_at_equal_intervals_up_to_the_last_step(images):
    run = make(images, num_steps=9)
    run.run()
    assert list(run.snapshots) == [3, 6, 9]
    assert all(s.dtype == torch.uint8 and len(s) == 4 for s in run.snapshots.values())


def test_weight_decay_shrinks_matrices_and_leaves_biases_alone(images):
    plain, decayed = (
        make(images, num_steps=5, weight_decay=decay, learning_rate=1e-9, **CONSTANT)
        for decay in (0.0, 1e6)
    )
    before = {k: v.clone() for k, v in decayed.model.state_dict().items()}
    decayed.run()
    plain.run()
    for key, value in decayed.model.state_dict().items():
        ratio = 0.999**5 if before[key].dim() > 1 else 1.0
        torch.testing.assert_close(value, before[key] * ratio, rtol=1e-4, atol=1e-6)


def test_dropout_takes_effect_and_is_reproducible(images):
    runs = [make(images, num_steps=3, dropout=dropout) for dropout in (0.0, 0.5, 0.5)]
    for run in runs:
        run.run()
    losses = [run.history[-1]["vae/loss"] for run in runs]
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]


def test_gradients_are_clipped_to_clip_norm(images):
    run = make(images, clip_norm=1e-3, num_steps=1)
    run._one_step(0)
    total = sum(p.grad.square().sum() for p in run.model.parameters()).sqrt()
    assert total.item() == pytest.approx(1e-3, rel=1e-3)


def test_the_learning_rate_follows_its_schedule(images):
    decay = {"learning_rate_schedule": "cosine", "learning_rate_end": 0.1}
    run = make(images, num_steps=6, batch_size=48, learning_rate=1e-3, **decay)
    run.run()
    rates = [row["vae/learning_rate"] for row in run.history]
    assert rates[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)
    # The last update is one step before the end of the schedule.
    assert rates[-1] == pytest.approx(1e-3 * run.model.config.learning_rate_factor(5), rel=1e-6)


def test_the_trained_model_holds_the_averaged_weights(images):
    run = make(images, name="gan_r1", num_steps=4, ema_half_life=1000)
    run.run()
    for key, value in run.model.generator.state_dict().items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, run.ema.state[key])


def test_a_gradient_that_is_not_finite_stops_the_run(images):
    run = make(images, num_steps=2, clip_norm=None)
    step = run.model.training_step

    def infinite(*arguments):
        terms = step(*arguments)
        # The loss is finite, its gradient is not.
        return {**terms, "loss": terms["loss"] + (0 * terms["loss"]).abs().sqrt()}

    run.model.training_step = infinite
    with pytest.raises(FloatingPointError, match="phase vae, step 0: the gradient is not finite"):
        run.run()


def test_a_divergence_at_the_last_step_raises_an_error(images):
    run = make(images, num_steps=1, learning_rate=1e30, clip_norm=None, **CONSTANT)
    with pytest.raises(FloatingPointError, match="validation after step 1"):
        run.run()


def test_a_batch_size_above_the_number_of_images_is_rejected(images):
    with pytest.raises(ValueError, match="batch_size 128 is more than the 48 training images"):
        make(images, batch_size=128)


def test_a_parameter_outside_the_phases_is_rejected(images):
    model = small_model(presets()["vae"])
    phase = Phase("vae", model.phases()[0].parameters[:-1])
    model.phases = lambda: (phase,)
    with pytest.raises(ValueError, match="exactly one phase"):
        Trainer(model, Images(images, None), Images(images, None), SETTINGS)


def test_a_phase_can_override_learning_rate_betas_and_decay(images):
    model = small_model(presets()["vae"], weight_decay=0.5, learning_rate=1e-3)
    first, *rest = model.encoder.parameters()
    others = [*rest, *model.decoder.parameters()]
    own = Phase("own", [first], learning_rate=0.2, betas=(0.3, 0.4), decayed=[])
    model.phases = lambda: (own, Phase("others", others, paces=((others[0], 3.0),)))
    split = Images(images, None)
    run = Trainer(model, split, split, SETTINGS)
    run.model.training_step = lambda x, *_: {"loss": sum(p.sum() for p in model.parameters())}
    run._one_step(0)
    (group,) = run.optimizers["own"].param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.2, (0.3, 0.4), 0.0)
    rates = [g["lr"] for g in run.optimizers["others"].param_groups]
    assert sorted(set(rates)) == pytest.approx([1e-3, 3e-3])


def test_after_update_is_called_after_each_update(images):
    run = make(images, name="gan_r1", num_steps=1, discriminator_steps=3)
    updated_phases = []
    run.model.after_update = updated_phases.append
    run._one_step(0)
    assert updated_phases == ["discriminator"] * 3 + ["generator"]
