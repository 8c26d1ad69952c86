"""The objective, the sampler and the prior over codes of kind `vq_vae`."""

import math

import pytest
import torch
from pydantic import ValidationError

from genmodels.base.code_prior import CodePrior
from genmodels.base.codebook import straight_through
from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.blocks import draw_weights
from genmodels.networks.shape import ImageShape
from genmodels.training import checkpoint
from genmodels.training.loop import Callbacks, LoopSettings, Trainer
from tests.conftest import presets, small_model

GREY = {"binarize": "none"}


def vq(**changes):
    return small_model(presets()["vq_vae"], **changes)


def code_prior(num_codes=5, grid=(3, 4), width=6, num_classes=0, seed=0):
    prior = CodePrior(num_codes, grid, width, num_classes)
    draw_weights(prior, generator(seed, "weights"))
    with torch.no_grad():
        prior.output.weight.mul_(8)  # far from uniform
    return prior


def drawn_codes(n, positions=12, num_codes=5, seed=0):
    return torch.randint(num_codes, (n, positions), generator=generator(seed, "codes"))


def step(model, x, phase="vae", y=None):
    return model.training_step(x, y, phase, 0, generator(0, "step"))


def test_the_loss_is_the_distortion_plus_the_weighted_commitment(images):
    model = vq(commitment=2.5, **GREY).eval()
    actual = step(model, images)
    torch.testing.assert_close(actual["loss"], actual["distortion"] + 2.5 * actual["commitment"])
    z = model.encoder(images)
    vectors = model.codebook.vectors[model.codebook.nearest(z)]
    assert z.shape == (64, 9, 3)
    distortion = -model.likelihood.log_prob(images, model.decoder(vectors))
    torch.testing.assert_close(actual["distortion"], distortion.mean())
    torch.testing.assert_close(actual["commitment"], (z - vectors).square().sum((1, 2)).mean())


@pytest.mark.parametrize("phase", ["vae", "prior"])
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_images(phase, images):
    model = vq(**GREY).eval()
    alone = [step(model, images[i : i + 1], phase)["loss"] for i in range(8)]
    together = step(model, images[:8], phase)["loss"]
    torch.testing.assert_close(torch.stack(alone).mean(), together, rtol=1e-6, atol=0)


def test_the_encoder_gets_the_gradient_that_the_decoder_gives_to_the_codes(images):
    model = vq(commitment=0.0, **GREY).eval()
    step(model, images)["loss"].backward()
    passed = [p.grad.clone() for p in model.encoder.parameters()]
    model.zero_grad()
    z = model.encoder(images)
    vectors = model.codebook.vectors[model.codebook.nearest(z)].requires_grad_()
    (-model.likelihood.log_prob(images, model.decoder(vectors))).mean().backward()
    model.encoder.zero_grad()
    z.backward(vectors.grad)
    for a, b in zip(passed, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-5, atol=1e-6)
    assert any(gradient.abs().max() > 0 for gradient in passed)


def test_the_commitment_has_a_gradient_for_the_encoder_only(images):
    model = vq(**GREY).eval()
    z = model.encoder(images)
    vectors = model.codebook.vectors[model.codebook.nearest(z)]
    distortion = -model.likelihood.log_prob(images, model.decoder(straight_through(z, vectors)))
    weight = model.config.commitment
    loss = distortion.mean() + weight * (z - vectors).square().sum((1, 2)).mean()
    loss.backward()
    expected = [p.grad.clone() for p in model.encoder.parameters()]
    model.zero_grad()
    step(model, images)["loss"].backward()
    for a, b in zip(expected, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in model.prior.parameters())


def test_the_codebook_changes_in_training_mode_only(images):
    model = vq()
    before = model.codebook.vectors.clone()
    step(model.eval(), images)
    step(model.train(), images, "prior")
    model.rate_distortion(images, generator(0, "score"))
    model.reconstruct(images)
    assert torch.equal(model.codebook.vectors, before)
    logged = step(model, images)
    assert not torch.equal(model.codebook.vectors, before)
    assert 1 <= logged["perplexity"] <= logged["used_codes"] <= 8
    assert 0 <= logged["replaced_codes"] <= 8


def test_the_codebook_starts_at_the_encodings_of_training_images(images):
    model = vq(**GREY)
    model.initialise(generator(0, "weights"), Images(images, None))
    z = model.encoder(images).detach().flatten(0, 1)
    left = (z - model.codebook.vectors[model.codebook.nearest(z)]).square().sum()
    assert left < 0.2 * (z - z.mean(0)).square().sum()
    assert step(model.eval(), images)["used_codes"] == 8


def test_the_codebook_is_a_buffer_and_part_of_the_state():
    model = vq()
    assert not any("codebook" in name for name, _ in model.named_parameters())
    assert {"codebook.vectors", "codebook.counts"} <= model.state_dict().keys()
    vae, prior = model.phases()
    assert [phase.name for phase in (vae, prior)] == ["vae", "prior"]
    assert len(prior.parameters) == len(list(model.prior.parameters()))
    assert prior.learning_rate == presets()["vq_vae"]["prior_learning_rate"]


@pytest.mark.parametrize("num_codes", [2, 8])
def test_a_uniform_prior_has_the_rate_log_k_at_every_position(num_codes, images):
    model = vq(num_codes=num_codes)
    torch.nn.init.zeros_(model.prior.output.weight)
    torch.nn.init.zeros_(model.prior.output.bias)
    rate, _ = model.rate_distortion(images, generator(0, "score"))
    expected = torch.full((64,), 9 * math.log(num_codes))
    torch.testing.assert_close(rate, expected, rtol=1e-6, atol=0)
    logged = step(model, images, "prior")
    torch.testing.assert_close(logged["rate"], expected[0], rtol=1e-6, atol=0)


def test_the_prior_sums_to_one_over_all_grids_of_codes():
    prior = code_prior(num_codes=3, grid=(2, 3), width=4)
    grids = torch.cartesian_prod(*[torch.arange(3)] * 6)
    total = (-prior.negative_log_prob(grids, None).double()).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)


def test_a_position_depends_on_all_earlier_codes_and_on_no_later_one():
    prior, codes = code_prior(), drawn_codes(1)
    base = prior(codes, None)
    for position in range(12):
        changed = codes.clone()
        changed[0, position] = (changed[0, position] + 1) % 5
        moved = (prior(changed, None) != base).any(2)[0]
        assert not moved[: position + 1].any()
        assert moved[-1] == (position < 11)


def test_sampled_codes_have_the_frequencies_of_the_prior():
    prior = code_prior(num_codes=3, grid=(2, 2), width=4)
    n = 20_000
    codes = prior.sample(n, generator(0, "sample"), None)
    grids = torch.cartesian_prod(*[torch.arange(3)] * 4)
    chances = (-prior.negative_log_prob(grids, None)).exp()
    number = (codes * torch.tensor([27, 9, 3, 1])).sum(1)
    observed = torch.bincount(number, minlength=81) / n
    error = (chances * (1 - chances) / n).sqrt()
    assert ((observed - chances).abs() < 4 * error + 1e-4).all()
    first = torch.stack([chances[grids[:, 0] == k].sum() for k in range(3)])
    assert first.max() > 1.3 * first.min()


def test_the_prior_depends_on_the_class():
    prior, codes = code_prior(num_classes=2), drawn_codes(50)
    classes = torch.eye(2)[torch.arange(50) % 2]
    assert (prior(codes, classes) != prior(codes, 1 - classes)).any()
    drawn = prior.sample(50, generator(0, "sample"), classes)
    assert torch.equal(drawn, prior.sample(50, generator(0, "sample"), classes))
    assert not torch.equal(drawn, prior.sample(50, generator(0, "sample"), 1 - classes))


def test_a_code_prior_learns_columns_of_equal_codes():
    # Every code equals the one above it, so only the first row is random.
    prior = CodePrior(4, (5, 3), 16, 0)
    draw_weights(prior, generator(0, "weights"))
    optimizer = torch.optim.Adam(prior.parameters(), 2e-2)
    for number in range(150):
        codes = drawn_codes(64, 3, 4, seed=number).repeat(1, 5)
        loss = prior.negative_log_prob(codes, None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(3 * math.log(4), rel=0.05)
    grids = prior.sample(200, generator(0, "sample"), None).unflatten(1, (5, 3))
    assert (grids == grids[:, :1]).float().mean() > 0.98


def test_decode_accepts_a_grid_of_code_vectors():
    model = vq()
    z = model.sample_latent(10, generator(0, "z"))
    assert z.shape == (10, 27)
    assert z.dtype == torch.float32
    codes = model.codebook.nearest(z.unflatten(1, (9, 3)))
    assert torch.equal(codes, model.prior.sample(10, generator(0, "z"), None))
    assert torch.equal(model.codebook.vectors[codes].flatten(1), z)
    with torch.no_grad():
        shown = model.likelihood.mean(model.decoder(z.unflatten(1, (9, 3))))
    torch.testing.assert_close(model.decode(z), shown)


def test_vectors_between_codes_are_decoded_as_the_nearest_codes():
    model = vq()
    z = model.sample_latent(10, generator(0, "z"))
    gap = torch.pdist(model.codebook.vectors).min()
    nudge = torch.randn(10, 9, 3, generator=generator(0, "nudge"))
    nudge = 0.4 * gap * nudge / nudge.norm(dim=2, keepdim=True)
    assert torch.equal(model.decode(z + nudge.flatten(1)), model.decode(z))


def test_a_sample_does_not_depend_on_the_rest_of_its_batch():
    model = vq()
    z = model.sample_latent(12, generator(0, "z"))
    alone = torch.cat([model.decode(row[None]) for row in z])
    torch.testing.assert_close(model.decode(z), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
def test_rate_and_distortion_do_not_depend_on_the_batch_size(conditional, images, monkeypatch):
    model = vq(conditional=conditional)
    y = torch.arange(64) % 10 if conditional else None
    whole = model.rate_distortion(images, generator(0, "valid"), y)
    assert all(value.shape == (64,) for value in whole)
    monkeypatch.setattr("genmodels.base.model.scoring_batches.__defaults__", (7,))
    cut = model.rate_distortion(images, generator(0, "valid"), y)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_the_elbo_is_the_negative_sum_of_distortion_and_rate(images):
    watched = vq().validation_step(images, None, generator(0, "valid"))
    assert list(watched) == ["distortion", "rate", "elbo"]
    assert torch.equal(watched["elbo"], -(watched["distortion"] + watched["rate"]))


def test_dropout_affects_the_autoencoder_but_not_the_codes_of_the_prior(images):
    model = vq(dropout=0.5, **GREY).train()
    for part in model.modules():
        if hasattr(part, "probability"):
            part.rng = generator(0, "dropout")
    assert step(model, images, "prior")["loss"] == step(model, images, "prior")["loss"]
    model.codebook.decay = 1.0
    assert step(model, images)["loss"] != step(model, images)["loss"]


def test_only_the_prior_depends_on_the_class(images):
    model = vq(conditional=True)
    y = torch.arange(64) % 10
    rate, distortion = model.rate_distortion(images, generator(0, "score"), y)
    other_rate, other = model.rate_distortion(images, generator(0, "score"), (y + 1) % 10)
    assert torch.equal(distortion, other)
    assert (rate != other_rate).all()
    assert not any("label_plane" in name for name, _ in model.named_parameters())
    with pytest.raises(ValueError, match="needs labels"):
        model.rate_distortion(images, generator(0, "score"))


@pytest.mark.parametrize(
    "changes",
    [
        {"likelihood": "gaussian", "sigma": 0.1, "binarize": "none"},
        {"likelihood": "gaussian", "sigma": "learned", "binarize": "none"},
        {"likelihood": "gaussian", "sigma": "optimal", "binarize": "none"},
        {"likelihood": "continuous_bernoulli", "binarize": "none"},
        {"binarize": "static"},
        {"conditional": True},
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(changes, images, tmp_path):
    class KilledError(Exception):
        pass

    def make():
        x = Images(images, torch.arange(64) % 10)
        train, valid = x.at(slice(48)), x.at(slice(48, None))
        model = small_model(presets()["vq_vae"], num_steps=7, **changes)
        return Trainer(model, train, valid, LoopSettings(0, "fp32", 2, 4))

    def kill(state):
        if interrupted.step == 3:
            checkpoint.save(tmp_path / "checkpoint.pt", state())
            raise KilledError

    whole, interrupted, resumed = make(), make(), make()
    whole.run()
    with pytest.raises(KilledError):
        interrupted.run(Callbacks(checkpoint=kill))
    resumed.load_state(checkpoint.load(tmp_path / "checkpoint.pt"))
    resumed.run()
    assert resumed.history == whole.history
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    x, y = images[48:], torch.arange(16) if whole.model.conditional else None
    assert torch.equal(whole.model.reconstruct(x, y), resumed.model.reconstruct(x, y))


def test_one_batch_can_be_overfitted(digits):
    small = {"batch_size": 16, "width": 8, "num_codes": 16, "prior_width": 32}
    fast = {"num_steps": 200, "learning_rate": 5e-3, "binarize": "none"}
    entry = presets()["vq_vae"] | small | fast
    model = build(entry, ImageShape(1, 28, 28))
    x = Images(digits[:16], None)
    run = Trainer(model, x, x, LoopSettings(0, "fp32", 1, 1))
    before = model.validation_step(*x, generator(0, "valid"))
    run.run()
    assert run.history[-1]["valid/distortion"] < 0.5 * before["distortion"].mean()
    assert run.history[-1]["valid/rate"] < 0.5 * before["rate"].mean()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_depth": 1}, "would mix the positions"),
        ({"num_codes": 1}, "greater than or equal to 2"),
        ({"commitment": -1.0}, "greater than or equal to 0"),
        ({"codebook_decay": 1.0}, "less than 1"),
        ({"revival_threshold": -1.0}, "greater than or equal to 0"),
        ({"likelihood": "gaussian"}, "needs sigma"),
        ({"ema_half_life": 1000}, "belongs to the trained encoder"),
    ],
)
def test_contradictory_settings_are_rejected(changes, message):
    with pytest.raises(ValidationError, match=message):
        vq(**changes)
