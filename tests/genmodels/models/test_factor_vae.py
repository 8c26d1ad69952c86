import math

import pytest
import torch
from torch import nn

from genmodels.base.model import Images
from genmodels.base.seeding import generator
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import presets, small_model


def factor_vae(**changes):
    return small_model(presets()["factor_vae"], **changes)


def terms_of(model, images):
    noise = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))
    return model.terms(images, None, noise)


def test_the_penalty_is_the_rate_and_gamma_times_the_logit(images):
    for gamma in (0.0, 6.4):
        model = factor_vae(gamma=gamma)
        terms = terms_of(model, images)
        penalty, logged = model.regularizer(terms, 0, generator(0, "none"))
        logit = model.critic(terms.z)[:, 0]
        torch.testing.assert_close(penalty, terms.rate + gamma * logit)
        torch.testing.assert_close(logged["total_correlation"], logit.mean())


def test_a_critic_with_the_exact_log_ratio_gives_the_total_correlation():
    # For two normal codes with correlation rho the log-ratio is a quadratic form with mean TC.
    rho, model = 0.9, factor_vae(latent_dim=2)

    class Ratio(nn.Module):
        def forward(self, z):
            a, b = z.unbind(1)
            quadratic = (a**2 - 2 * rho * a * b + b**2) / (1 - rho**2) - a**2 - b**2
            return (-0.5 * quadratic - 0.5 * math.log(1 - rho**2))[:, None]

    model.critic = Ratio()
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(50_000, 2, generator=rng)
    z[:, 1] = rho * z[:, 0] + (1 - rho**2) ** 0.5 * z[:, 1]
    ratio = model.log_density_ratio(z)
    expected = -0.5 * math.log(1 - rho**2)
    assert abs(ratio.mean() - expected) < 4 * ratio.std() / len(z) ** 0.5


def critic_inputs(model, images, seed=0):
    """The critic's inputs in its phase (joint codes, permuted codes), and the logged terms."""
    inputs = []
    hook = model.critic.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    actual = model.training_step(images, None, "critic", 0, generator(seed, "step"))
    hook.remove()
    joint, permuted = inputs
    return joint, permuted, actual


def test_the_permuted_codes_come_from_other_images_than_the_joint_ones():
    model = factor_vae(binarize="none")
    model.posterior = lambda x, y: (x.flatten(1)[:, :3], torch.full((len(x), 3), -100.0))
    marked = torch.arange(64.0 * 144).reshape(64, 1, 12, 12)
    joint, permuted, _ = critic_inputs(model, marked)
    codes = marked.flatten(1)[:, :3]
    torch.testing.assert_close(joint, codes[:32])
    torch.testing.assert_close(permuted.sort(0).values, codes[32:])
    # Dimensions are permuted independently, so no row is the code of an image.
    origin = (permuted // 144).long()
    assert (origin[:, 0] != origin[:, 1]).float().mean() > 0.8
    assert (origin >= 32).all()


def test_the_critic_s_loss_falls_where_joint_logits_rise(images):
    model = factor_vae()
    with torch.no_grad():
        model.critic[-1].weight.zero_()
        model.critic[-1].bias.zero_()
    *_, actual = critic_inputs(model, images)
    assert actual["loss"].item() == pytest.approx(math.log(2), rel=1e-6)

    class Marked(nn.Module):
        calls = 0

        def forward(self, z):
            self.calls += 1
            return torch.full((len(z), 1), 2.0 if self.calls == 1 else -1.0)

    model.critic = Marked()
    actual = model.training_step(images, None, "critic", 0, generator(0, "step"))
    expected = 0.5 * (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)))
    assert actual["loss"].item() == pytest.approx(expected, rel=1e-6)
    assert actual["accuracy"] == 1


def test_the_critic_s_phase_gives_the_encoder_no_gradient(images):
    model = factor_vae()
    model.training_step(images, None, "critic", 0, generator(0, "step"))["loss"].backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {n for n, _ in model.named_parameters() if n.startswith("critic.")}


def test_the_total_correlation_has_a_gradient_for_the_encoder_but_not_for_the_critic(images):
    model = factor_vae()
    run = Trainer(model, Images(images, None), Images(images, None), LoopSettings(0, "fp32", 1, 1))
    vae, critic = run.phases
    assert {id(p) for p in vae.parameters} | {id(p) for p in critic.parameters} == {
        id(p) for p in model.parameters()
    }
    for p in critic.parameters:
        p.requires_grad_(False)
    _, logged = model.regularizer(terms_of(model, images), 0, generator(0, "none"))
    logged["total_correlation"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.critic.parameters())
    assert all(p.grad is None for p in model.decoder.parameters())


def test_the_critic_has_its_own_learning_rate_on_the_same_schedule(images):
    model = factor_vae(
        learning_rate=1e-3,
        learning_rate_end=0.5,
        critic_learning_rate=1e-4,
        critic_adam_beta1=0.3,
        num_steps=2,
    )
    run = Trainer(model, Images(images, None), Images(images, None), LoopSettings(0, "fp32", 1, 1))
    run.run()
    for name, rate, beta in (("vae", 1e-3, 0.9), ("critic", 1e-4, 0.3)):
        group = run.optimizers[name].param_groups[0]
        assert group["lr"] == pytest.approx(0.75 * rate)
        assert group["betas"][0] == beta


def test_the_critic_stays_in_float32_under_autocast(images):
    model = factor_vae()
    z = terms_of(model, images).z
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = model.log_density_ratio(z)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, model.log_density_ratio(z))


def test_without_gamma_the_autoencoder_trains_as_a_vae_does(images):
    shared = {"num_steps": 3, "dropout": 0.1}
    models = [factor_vae(gamma=0.0, **shared), small_model(presets()["vae"], **shared)]
    for model in models:
        data = Images(images, None)
        Trainer(model, data, data, LoopSettings(0, "fp32", 1, 1)).run()
    for part in ("encoder", "decoder"):
        ours, theirs = (getattr(model, part).state_dict() for model in models)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
