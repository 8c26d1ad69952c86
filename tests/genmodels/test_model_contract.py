"""The contract of every kind, tested for every entry of params.yaml."""

import pytest
import torch

from evaluation.measuring.protocols import (
    Discriminator,
    Encoder,
    ImportanceBound,
    LikelihoodBound,
    Reconstructor,
    Sampler,
)
from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.build import build, config_class, kinds
from genmodels.networks.shape import ImageShape
from genmodels.training import cost
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import NUM_CLASSES, presets, small, small_model

NAMES = list(presets())
#: One entry of each kind.
KINDS = list({entry["kind"]: name for name, entry in reversed(presets().items())}.values())
SHAPES = [(1, 8, 8), (3, 8, 11), (1, 28, 28), (3, 33, 20), (1, 65, 128)]


def trainer(model, images, seed=0, **changes) -> Trainer:
    settings = {"precision": "fp32", "num_snapshots": 2, "snapshot_images": 4} | changes
    labelled = Images(images, torch.arange(len(images)) % NUM_CLASSES)
    train, valid = labelled.at(slice(48)), labelled.at(slice(48, None))
    return Trainer(model, train, valid, LoopSettings(seed, **settings))


def test_every_kind_has_an_entry_in_params_yaml():
    assert kinds()
    assert {entry["kind"] for entry in presets().values()} == set(kinds())


@pytest.mark.parametrize("kind", kinds())
def test_no_setting_has_a_default(kind):
    fields = config_class(kind).model_fields
    assert [name for name, field in fields.items() if not field.is_required()] == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("architecture", ["mlp", "conv", "resnet", "rnn"])
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_have_the_shape_of_the_images(name, conditional, architecture, shape):
    entry = small(presets()[name]) | {"architecture": architecture, "conditional": conditional}
    entry |= {"width": 2, "latent_dim": 2, "dropout": 0.0}
    entry |= {"head_depth": 0} if architecture in ("mlp", "rnn") else {}
    norms = ("discriminator_norm", "generator_norm")
    entry |= {key: "none" for key in norms if key in entry and architecture == "rnn"}
    model = build(entry, ImageShape(*shape), 3)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(4, *shape, generator=rng)
    y = torch.tensor([0, 1, 2, 0]) if conditional else None
    model.initialise(generator(0, "weights"), Images(x, y))
    model.fit_sampler(Images(x, y), generator(0, "fit"))
    assert model.sample(2, generator(0, "sample")).shape == (2, *shape)
    for phase in model.phases():
        assert model.training_step(x, y, phase.name, 0, generator(0, "step"))["loss"].isfinite()


@pytest.mark.parametrize("name", KINDS)
def test_a_conditional_model_samples_the_requested_classes(name, preset, images):
    model = preset(name, conditional=True)
    seven = torch.full((6,), 7)
    requested = model.sample(6, generator(0, "sample"), seven)
    cycled = model.sample(6, generator(0, "sample"))
    assert not torch.equal(requested, cycled)
    in_turn = model.sample(6, generator(0, "sample"), torch.arange(6))
    assert torch.equal(cycled, in_turn)
    run = trainer(preset(name, conditional=True, num_steps=3), images)
    run.run()
    assert run.train.y is not None


@pytest.mark.parametrize("name", [name for name in KINDS if name != "beta_tcvae"])
def test_the_losses_do_not_depend_on_the_number_of_training_images(name, images):
    # Except beta_tcvae, whose estimator of q(z) is a mean over all training images.
    losses = []
    for copies in (1, 3):
        model = small_model(presets()[name], conditional=False)
        model.initialise(generator(0, "weights"), Images(images.repeat(copies, 1, 1, 1), None))
        if name == "vq_vae":  # its initial codebook depends on all training images
            model.codebook.vectors.copy_(torch.linspace(-1, 1, 24).reshape(8, 3))
        losses.append(
            [
                model.training_step(images, None, phase.name, 1, generator(0, "step"))["loss"]
                for phase in model.phases()
            ]
        )
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", KINDS)
def test_an_unconditional_model_gets_no_labels(name, images):
    run = trainer(small_model(presets()[name], conditional=False), images)
    assert run.train.y is None
    assert run.valid.y is None


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_reproducible_images_that_ignore_the_global_generator(name, preset):
    model = preset(name).train()
    before = torch.get_rng_state()
    first = model.sample(5, generator(1, "sample"))
    torch.rand(3)
    second = model.sample(5, generator(1, "sample"))
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert model.training
    assert all(part.training for part in model.modules())
    torch.set_rng_state(before)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(name, preset):
    model = preset(name)
    labels = model.labels_or_cycle(6, None)
    latents = Images(model.sample_latent(6, generator(0, "z"), labels), labels)
    alone = torch.cat([model.decode(*latents.at(slice(i, i + 1))) for i in range(6)])
    torch.testing.assert_close(model.decode(*latents), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_the_global_generator_alone(name, preset, images):
    run = trainer(preset(name, num_steps=4, dropout=0.2), images)
    before = torch.get_rng_state()
    run.run()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop", [1, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(name, stop, images, tmp_path):
    from genmodels.training import checkpoint
    from genmodels.training.loop import Callbacks

    class KilledError(Exception):
        pass

    def make():
        return trainer(small_model(presets()[name], num_steps=8, dropout=0.1), images)

    def kill(state):
        if interrupted.step == stop:
            checkpoint.save(tmp_path / "checkpoint.pt", state())
            raise KilledError

    whole, interrupted, resumed = make(), make(), make()
    whole.run()
    with pytest.raises(KilledError):
        interrupted.run(Callbacks(checkpoint=kill))
    resumed.load_state(checkpoint.load(tmp_path / "checkpoint.pt"))
    resumed.run()
    assert resumed.history == whole.history
    _assert_equal(resumed.state(), whole.state())


def _assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_equal(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_weights(name, images):
    runs = [
        trainer(small_model(presets()[name], num_steps=2), images, seed=seed) for seed in (0, 1)
    ]
    for run in runs:
        run.run()
    assert runs[0].history != runs[1].history


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_changes_its_own_parameters_only(name, preset, images):
    model = preset(name)
    run = trainer(model, images)
    for phase in model.phases():
        others = [
            p for other in model.phases() if other.name != phase.name for p in other.parameters
        ]
        before = [p.detach().clone() for p in others]
        own = [p.detach().clone() for p in phase.parameters]
        for p in model.parameters():
            p.requires_grad_(False)
        for p in phase.parameters:
            p.requires_grad_(True)
        run._update(phase, 0, 0)
        assert all(torch.equal(a, b) for a, b in zip(before, others, strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(own, phase.parameters, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_names_phase_term_and_step(name, preset, images):
    model = preset(name, num_steps=4)
    run = trainer(model, images)
    phase = model.phases()[0]
    with torch.no_grad():
        phase.parameters[-1].fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=f"phase {phase.name}, step 0: .* = nan"):
        run.run()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_trains_close_to_float32(name, images):
    losses = []
    for precision in ("fp32", "bf16"):
        run = trainer(small_model(presets()[name], num_steps=6), images, precision=precision)
        run.run()
        first = run.model.phases()[0].name
        losses.append(run.history[-1][f"{first}/loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_implements_the_protocols_of_its_family(name, preset):
    model = preset(name)
    assert isinstance(model, Sampler)
    assert isinstance(model, Reconstructor) == (model.family == "vae")
    # An autoencoder has no density over its codes.
    bounded = model.family == "vae" and model.config.kind != "autoencoder"
    assert isinstance(model, LikelihoodBound) == bounded
    # The codes of a VQ-VAE are indices, not vectors, and its posterior is deterministic.
    vectors = model.family == "vae" and model.config.kind != "vq_vae"
    assert isinstance(model, Encoder) == vectors
    assert isinstance(model, ImportanceBound) == (bounded and vectors)
    assert isinstance(model, Discriminator) == (model.family == "gan")


@pytest.mark.parametrize("name", NAMES)
def test_the_latent_posterior_has_a_mean_and_a_standard_deviation(name, preset, images):
    model = preset(name, dropout=0.5).train()
    if not isinstance(model, Encoder):
        return
    y = model.labels_or_cycle(64, None)
    mean, std = model.latent_posterior(images, generator(0, "pixels"), labels=y)
    assert mean.shape == (64, 3)
    rng = generator(0, "pixels")  # one generator for all images
    parts = [Images(images, y).at(slice(i, i + 1)) for i in range(3)]
    again = torch.cat([model.latent_posterior(one, rng, labels)[0] for one, labels in parts])
    torch.testing.assert_close(again, mean[:3], rtol=1e-5, atol=1e-5)
    assert all(part.training for part in model.modules())
    if model.config.kind == "autoencoder":
        assert std is None
        assert not model.unit_normal_prior
    else:
        assert std.shape == (64, 3)
        assert std.min() > 0
        assert model.unit_normal_prior == (model.config.prior == "normal")


@pytest.mark.parametrize("name", NAMES)
def test_costs_of_a_loaded_model_are_counted_and_change_nothing(name, preset):
    model = build(small(presets()[name]), ImageShape(1, 12, 12), NUM_CLASSES)
    model.load_state_dict(preset(name).state_dict())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert cost.num_parameters(model) == sum(p.numel() for p in model.parameters())
    assert cost.multiply_adds_train(model) > cost.multiply_adds_sample(model) > 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["vae", "gan_r1"])
def test_multiply_adds_are_those_of_a_count_by_hand(name, preset):
    norms = {"generator_norm": "none", "discriminator_norm": "none"} if name == "gan_r1" else {}
    model = preset(name, architecture="mlp", depth=1, head_depth=0, **norms)
    # z (3) -> 4 hidden units -> 144 pixels
    assert cost.multiply_adds_sample(model) == 3 * 4 + 4 * 144
