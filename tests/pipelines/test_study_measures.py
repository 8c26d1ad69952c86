"""What studies measure beside the metrics."""

import pytest
import torch

from genmodels.base.model import Images
from pipelines import study_measures


def test_linear_dependence_has_the_total_correlation_of_its_closed_form():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200_000, generator=rng)
    z = torch.stack([a, 0.9 * a + (1 - 0.81) ** 0.5 * b], 1)
    assert study_measures.gaussian_total_correlation(z) == pytest.approx(0.830, abs=0.01)
    assert abs(study_measures.gaussian_total_correlation(torch.stack([a, b], 1))) < 1e-4


@pytest.mark.parametrize("name", ["autoencoder_gmm", "vae"])
def test_another_sampler_keeps_the_networks(preset, images, name):
    model = preset(name)
    entry = {**model.config.model_dump()}
    real = study_measures.RealImages(images, None, {}, "digits", "train", "0")
    other = study_measures._resampled(model, entry, 1, real, 0)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.decode(z), model.decode(z))
    assert other.config.gmm_components == 1
    drawn = other.sample_latent(2000, torch.Generator().manual_seed(1))
    codes = model.encode(images)
    mean = (codes if name == "autoencoder_gmm" else codes[0]).mean(0)
    spread = drawn.std(0)
    assert ((drawn.mean(0) - mean).abs() < 0.5 * spread).all()
    normal = study_measures._resampled(model, entry, 0, real, 0)
    rng = torch.Generator().manual_seed(2)
    expected = model.decode(torch.randn(4, 3, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(normal.sample(4, rng), expected)


def test_images_of_a_conditional_model_come_with_their_classes(preset, images):
    model = preset("conditional_vae")
    labels = torch.arange(len(images)) % 10
    real = study_measures.RealImages(images, labels, {}, "digits", "test", "0")
    bound = study_measures.Bound(num_importance=2, num_images=8)
    assert study_measures._nll(model, bound, real, 0) > 0
    assert isinstance(study_measures._on_device(real, model, 3), Images)
