"""The parts of the rate: the formula of the training loss, closed forms, blocks of codes."""

import pytest
import torch

from evaluation.measuring.seeding import generator
from evaluation.metrics import total_correlation
from evaluation.metrics.total_correlation import METRIC, gaussian_total_correlation, parts
from genmodels.base import seeding
from genmodels.objectives.priors import normal_log_prob, standard_normal_log_prob
from genmodels.objectives.total_correlation import decompose, stratified_log_weights
from tests.conftest import presets, small_model


def test_linear_dependence_has_the_total_correlation_of_its_closed_form():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200_000, generator=rng)
    z = torch.stack([a, 0.9 * a + (1 - 0.81) ** 0.5 * b], 1)
    assert gaussian_total_correlation(z) == pytest.approx(0.830, abs=0.01)
    assert abs(gaussian_total_correlation(torch.stack([a, b], 1))) < 1e-4


def test_the_parts_are_those_of_the_training_loss():
    rng = torch.Generator().manual_seed(0)
    mean, logvar, noise = torch.randn(3, 50, 4, generator=rng)
    z = mean + (0.5 * logvar).exp() * noise
    log_prior = standard_normal_log_prob(z)
    expected = decompose(mean, logvar, z, log_prior, stratified_log_weights(50, 700))
    assert torch.equal(parts(mean, logvar, z, log_prior, 700), torch.stack(tuple(expected)))


def test_the_parts_of_a_vae_add_up_to_its_rate(images, make_context, reference):
    model = small_model(presets()["vae"])
    values = METRIC.compute(make_context(model))
    x = reference.images
    codes = model.score(x, None, seeding.generator(1, "codes"))
    rate = normal_log_prob(codes.z, codes.mean, codes.logvar) - standard_normal_log_prob(codes.z)
    added = sum(values[name] for name in list(values)[:3])
    assert added == pytest.approx(rate.mean().item(), rel=1e-4)


def test_every_code_counts(make_context, reference, monkeypatch):
    sizes = []

    def counted(mean, *others):
        sizes.append(len(mean))
        return parts(mean, *others)

    monkeypatch.setattr(total_correlation, "BLOCK", 15)
    monkeypatch.setattr(total_correlation, "parts", counted)
    METRIC.compute(make_context(small_model(presets()["vae"])))
    assert len(reference.images) == 40
    assert sizes == [14, 13, 13]


def test_the_noise_of_a_purpose_is_that_of_the_models():
    ours, theirs = generator(3, "codes"), seeding.generator(3, "codes")
    assert torch.equal(torch.rand(5, generator=ours), torch.rand(5, generator=theirs))
