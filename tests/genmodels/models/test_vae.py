"""The objectives of the VAE base and of kind `vae`: units, reductions, options, refusals."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Normal, kl_divergence

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.base.vae import VAEConfig, active_units
from genmodels.build import build, config_class
from genmodels.networks.shape import ImageShape
from genmodels.objectives.divergences import kl_to_standard_normal
from genmodels.objectives.priors import mixture_log_prob, normal_log_prob
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets, small_model

VAES = [n for n, e in presets().items() if issubclass(config_class(e["kind"]), VAEConfig)]
#: One entry of each kind that is one.
KINDS = list({presets()[name]["kind"]: name for name in reversed(VAES)}.values())
GAUSSIAN = {"likelihood": "gaussian", "binarize": "none"}


def noise(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def vae(**changes):
    return small_model(presets()["vae"], **changes)


def labels_of(model, n):
    return torch.arange(n) % model.num_classes if model.conditional else None


@pytest.mark.parametrize("name", VAES)
def test_an_image_has_the_same_terms_alone_and_in_a_batch(name, images):
    model = small_model(presets()[name]).eval()
    x, epsilon, y = images[:6], noise(6), labels_of(small_model(presets()[name]), 6)
    together = model.terms(x, y, epsilon)
    for i in range(6):
        alone = model.terms(*Images(x, y).at(slice(i, i + 1)), epsilon[i : i + 1])
        for key in ("rate", "distortion"):
            torch.testing.assert_close(
                getattr(alone, key)[0], getattr(together, key)[i], rtol=1e-5, atol=1e-4
            )


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
def test_terms_of_the_batch_mean_are_invariant_to_replication(changes, images):
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


def test_free_bits_charge_each_dimension_for_what_is_above_them(images):
    model = vae(free_bits=0.01)
    terms = model.terms(images, None, noise(64))
    each = kl_to_standard_normal(terms.mean, terms.logvar).mean(0)
    expected = sum(max(0.01, value) for value in each.tolist())
    penalty, _ = model.regularizer(terms, 0, torch.Generator())
    assert penalty.item() == pytest.approx(expected, rel=1e-5)
    # The rate itself is logged without the floor.
    assert terms.rate.mean().item() == pytest.approx(each.sum().item(), rel=1e-5)


def test_weight_decay_does_not_draw_learned_images_to_black():
    model = vae(prior="vamp", num_pseudo_inputs=4)
    (phase,) = model.phases()
    decayed = {id(parameter) for parameter in phase.decayed}
    assert id(model.pseudo_inputs) not in decayed
    matrices = [p for network in (model.encoder, model.decoder) for p in network.parameters()]
    assert decayed == {id(p) for p in matrices if p.dim() > 1}


def test_validation_is_at_weight_one_whatever_beta_and_warm_up_are(images):
    values = []
    for beta in (1.0, 20.0):
        model = vae(beta=beta, kl_warmup=1.0)
        watched = model.validation_step(images, None, generator(0, "valid"))
        values.append(watched["elbo"])
        torch.testing.assert_close(watched["elbo"], -(watched["rate"] + watched["distortion"]))
    assert torch.equal(*values)
    assert list(watched)[-1] == "elbo"


@pytest.mark.parametrize("order", ["as is", "reversed"])
def test_a_value_does_not_depend_on_how_a_split_is_cut(order, images, monkeypatch):
    model = vae(binarize="none")
    whole = model.rate_distortion(images, generator(0, "valid"))
    monkeypatch.setattr("genmodels.base.image_likelihood.pieces.__defaults__", (7,))
    cut = model.rate_distortion(images, generator(0, "valid"))
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    if order == "reversed":
        rate, _ = model.rate_distortion(images.flip(0), generator(0, "valid"))
        torch.testing.assert_close(rate.flip(0), whole[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "continuous_bernoulli"])
def test_an_untrained_decoder_with_zero_weights_stands_at_the_mean_image(likelihood, images):
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


def test_the_optimal_sigma_follows_in_training_and_is_frozen_elsewhere(images):
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


def test_a_learned_sigma_has_a_pace_of_its_own(images):
    model = vae(**GAUSSIAN, sigma="learned", num_steps=2, learning_rate=1e-3)
    run = Trainer(model, Images(images, None), Images(images, None), LoopSettings(0, "fp32", 1, 1))
    start = model.log_sigma.item()
    assert start == pytest.approx(0.5 * (images - images.mean(0)).square().mean().log().item())
    run._one_step(0)
    assert abs(model.log_sigma.item() - start) == pytest.approx(1e-2, rel=0.01)
    assert "vae/log_sigma" in run._terms.values


def test_log_sigma_has_a_hard_floor():
    model = vae(**GAUSSIAN, sigma="learned")
    model.log_sigma.data.fill_(-50.0)
    assert model.likelihood.log_sigma.item() == -6.0


def test_the_vamp_prior_is_the_mixture_of_its_pseudo_posteriors(images):
    model = vae(prior="vamp", num_pseudo_inputs=4)
    z = noise(9)
    means, logvars = model.posterior(model.pseudo_inputs.clamp(0, 1), None)
    torch.testing.assert_close(model.prior_log_prob(z), mixture_log_prob(z, means, logvars))
    terms = model.terms(images, None, noise(64))
    expected = normal_log_prob(terms.z, terms.mean, terms.logvar) - model.prior_log_prob(terms.z)
    torch.testing.assert_close(terms.rate, expected)
    terms.rate.sum().backward()
    assert model.pseudo_inputs.grad.abs().sum() > 0


def test_draws_from_the_vamp_prior_use_every_component_alike(images):
    model = vae(prior="vamp", num_pseudo_inputs=4, latent_dim=2)
    # Far apart and narrow, so that a draw tells its component.
    means = torch.tensor([[0.0, 0], [100, 0], [0, 100], [100, 100]])
    model._pseudo_posteriors = lambda: (means, torch.full((4, 2), -4.0))
    drawn = model.sample_latent(1000, generator(0, "z"))
    counts = torch.cdist(drawn, means).argmin(1).bincount(minlength=4)
    chi_squared = ((counts - 250) ** 2 / 250).sum().item()
    assert chi_squared < 16.27  # p = 0.001 at 3 degrees of freedom
    assert (drawn / 100).frac().abs().max() > 0  # noise, not the means themselves


def test_the_mixture_sampler_draws_from_the_aggregate_posterior(images):
    model = vae(sampler="gmm", gmm_components=2)
    many = Images(images.repeat(4, 1, 1, 1), None)
    model.initialise(generator(0, "weights"), many)
    model.fit_sampler(many, generator(0, "fit"))
    codes = model.score(many.x, None, generator(1, "codes")).z
    drawn = model.sample_latent(4000, generator(0, "z"))
    torch.testing.assert_close(drawn.std(0), codes.std(0), rtol=0.15, atol=0)
    assert model.sample(3, generator(0, "s")).shape == (3, 1, 12, 12)


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


def test_a_reconstruction_decodes_the_posterior_mean(images):
    model = vae()
    mean, logvar = model.encode(images)
    assert mean.shape == logvar.shape == (64, 3)
    assert torch.equal(model.reconstruct(images), model.decode(mean))


@pytest.mark.parametrize("name", VAES)
def test_the_posterior_that_it_tells_has_its_rate(name, images):
    model = small_model(presets()[name]).eval()
    y = labels_of(model, 64)
    mean, std = model.latent_posterior(images, generator(0, "score"), y)
    if model.unit_normal_prior:
        rate, _ = model.rate_distortion(images, generator(0, "score"), y)
        expected = kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum(1)
        torch.testing.assert_close(rate, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VAES)
def test_the_importance_weights_of_one_draw_are_its_terms(name, images):
    model = small_model(presets()[name], binarize="none").eval()
    y = labels_of(model, 64)
    (log_w,) = model.importance_log_weights(images, 1, generator(0, "draws"), labels=y)
    epsilon = torch.randn(64, 3, generator=generator(0, "draws"))
    terms = model.terms(images, y, epsilon)
    log_q = Normal(terms.mean, (0.5 * terms.logvar).exp()).log_prob(terms.z).sum(1)
    expected = -terms.distortion + model.prior_log_prob(terms.z) - log_q
    assert log_w.dtype == torch.float64
    torch.testing.assert_close(log_w[0], expected.double(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rows", [1, 130, 500])
def test_blocks_of_importance_weights_are_the_bound_however_they_are_cut(name, rows, images):
    model = small_model(presets()[name], dropout=0.5).train()
    y = labels_of(model, 64)
    blocks = []
    for block in model.importance_log_weights(images, 5, generator(0, "k"), y, rows=rows):
        # Whoever takes them is neither in evaluation mode nor without gradients.
        assert torch.is_grad_enabled()
        assert all(part.training for part in model.modules())
        blocks.append(block)
    assert [len(block) for block in blocks] == {1: [1] * 5, 130: [2, 2, 1], 500: [5]}[rows]
    bound = model.log_likelihood_bound(images, 5, generator(0, "k"), y)
    found = torch.cat(blocks).logsumexp(0) - math.log(5)
    torch.testing.assert_close(found, bound, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_one_batch_can_be_learned_by_heart(name, digits):
    changes = {"num_steps": 200, "batch_size": 16, "kl_warmup": 1.0}
    model = build(presets()[name] | changes, ImageShape(1, 28, 28))
    split = Images(digits[:16], None)
    run = Trainer(model, split, split, LoopSettings(0, "fp32", 1, 1))
    before = model.validation_step(*split, generator(0, "valid"))["distortion"].mean()
    run.run()
    assert run.history[-1]["valid/distortion"] < 0.5 * before


def test_active_units_counts_the_dimensions_that_vary():
    mean = torch.zeros(1000, 4)
    mean[:, 1] = 0.05 * noise(1000, 1)[:, 0]
    mean[:, 3] = noise(1000, 1)[:, 0]
    assert active_units(mean) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 2.0, "free_bits": 0.1}, "beta: 2.0 and free_bits: 0.1 exclude one another"),
        ({"capacity": 5.0}, "capacity 5.0 needs a capacity_weight of above 0"),
        (
            {"capacity": 5.0, "capacity_weight": 1.0},
            "capacity has a ramp of its own: set kl_warmup: 0",
        ),
        ({"capacity_ramp": 0.5}, "capacity null needs a capacity_ramp of 0"),
        ({"prior": "vamp"}, "prior 'vamp' needs num_pseudo_inputs: a number"),
        ({"gmm_components": 3}, "sampler 'prior' needs gmm_components: null"),
        (
            {"prior": "vamp", "num_pseudo_inputs": 3, "conditional": True},
            "the pseudo-inputs have no classes",
        ),
        (
            {"prior": "vamp", "num_pseudo_inputs": 3, "free_bits": 0.1},
            "needs the rate of each dimension",
        ),
        ({"beta": -1.0}, "greater than or equal to 0"),
        ({"beta": "4"}, "valid number"),
        ({"beta": float("inf")}, "finite number"),
        ({"dropout": 1.0}, "less than 1"),
        ({"architecture": "mlp"}, "contradicts architecture 'mlp'"),
        ({"likelihood": "gaussian", "sigma": 0.1}, "set binarize: none"),
        ({"sigma": 0.1}, "likelihood 'bernoulli' needs sigma: null"),
        ({"likelihood": "gaussian"}, "needs sigma: a number, learned or optimal"),
        ({"likelihood": "continuous_bernoulli"}, "models grey values: set binarize: none"),
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
            "the steps of its stages must rise",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        config_class("vae").model_validate(presets()["vae"] | changes)


def test_a_conditional_model_needs_labels():
    with pytest.raises(ValueError, match="conditional: true needs labelled images"):
        build(presets()["vae"] | {"conditional": True}, ImageShape(1, 12, 12), 0)


def test_the_rate_of_a_posterior_that_is_the_prior_is_zero():
    terms = kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3))
    assert terms.sum().item() == 0
    assert math.isclose(
        kl_to_standard_normal(torch.zeros(1, 1), torch.tensor([[1e-4]])).item(),
        0.25e-8,
        rel_tol=1e-2,
    )
