"""Samplers chosen after the training."""

import pytest
import torch


@pytest.mark.parametrize("name", ["autoencoder_gmm", "vae"])
def test_another_sampler_keeps_the_networks(preset, images, name):
    model = preset(name)
    other = model.with_mixture(1, images, 0)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.decode(z), model.decode(z))
    assert other.config.gmm_components == 1
    drawn = other.sample_latent(2000, torch.Generator().manual_seed(1))
    codes = model.encode(images)
    mean = (codes if name == "autoencoder_gmm" else codes[0]).mean(0)
    spread = drawn.std(0)
    assert ((drawn.mean(0) - mean).abs() < 0.5 * spread).all()
    normal = model.with_normal_codes()
    rng = torch.Generator().manual_seed(2)
    expected = model.decode(torch.randn(4, 3, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(normal.sample(4, rng), expected)


def test_a_conditional_model_has_a_mixture_for_each_class(preset, images):
    model = preset("conditional_vae")
    labels = torch.arange(len(images)) % 10
    other = model.with_mixture(2, images, 0, labels)
    assert other.mixture.weights.any(1).all()
    assert model.with_normal_codes().sample(3, torch.Generator(), labels[:3]).shape[0] == 3
