import math

import pytest
import torch
from skimage.metrics import structural_similarity as skimage_ssim
from torchmetrics.functional.image import peak_signal_noise_ratio

from evaluation.measuring.records import UnavailableError
from evaluation.metrics import mse, psnr, ssim
from evaluation.metrics.mse import squared_error
from evaluation.metrics.psnr import peak_signal_to_noise
from evaluation.metrics.ssim import structural_similarity


@pytest.mark.parametrize("batch_size", [1, 7, 16, 100])
def test_mse_is_the_mean_of_the_images_for_any_batch_size(
    make_context, model, batch_size: int
) -> None:
    context = make_context(model, batch_size=batch_size)
    value = mse.METRIC.compute(context)["mse"].value
    x = context.reference.images.double()
    expected = (x - context.reconstructions.double()).square().mean().item()
    assert value == pytest.approx(expected, rel=1e-12)
    assert value == pytest.approx(mse.METRIC.compute(make_context(model))["mse"].value, rel=1e-12)


@pytest.mark.parametrize("c", [0.5, 0.1])
def test_psnr_of_a_constant_error(c: float) -> None:
    x = torch.zeros(3, 1, 12, 12)
    values = peak_signal_to_noise(squared_error(x, x + c))
    torch.testing.assert_close(
        values, torch.full_like(values, -20 * math.log10(c)), rtol=0, atol=1e-5
    )


def test_psnr_of_identical_images_is_clamped_and_counted(make_context, make_model) -> None:
    class Perfect(make_model):
        def reconstruct(self, x):
            return x

    measured = psnr.METRIC.compute(make_context(Perfect()))["psnr"]
    assert measured.value == pytest.approx(58.92, abs=0.005)
    assert measured.params["clamped"] == 40


def test_psnr_is_that_of_torchmetrics_per_image(make_pictures) -> None:
    x, x_hat = make_pictures(20, 1), make_pictures(20, 2)
    expected = peak_signal_noise_ratio(
        x_hat, x, data_range=1.0, dim=(1, 2, 3), reduction="none"
    ).double()
    values = peak_signal_to_noise(squared_error(x, x_hat))
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)


def test_ssim_of_constants_has_the_closed_form() -> None:
    one, other = torch.full((2, 1, 16, 16), 0.3), torch.full((2, 1, 16, 16), 0.7)
    value = structural_similarity(one.double(), other.double())[0].item()
    assert value == pytest.approx((2 * 0.21 + 1e-4) / (0.09 + 0.49 + 1e-4), abs=1e-6)


def test_ssim_of_equal_images_is_one(make_pictures) -> None:
    x = make_pictures(5, 1)
    torch.testing.assert_close(
        structural_similarity(x, x), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 21)])
def test_ssim_is_that_of_scikit_image(rng, shape: tuple[int, int, int]) -> None:
    x, x_hat = torch.rand((2, 3, *shape), generator=rng, dtype=torch.float64)
    values = structural_similarity(x, x_hat)
    for image, other, value in zip(x.numpy(), x_hat.numpy(), values.tolist(), strict=True):
        expected = skimage_ssim(
            image,
            other,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
        assert value == pytest.approx(expected, abs=1e-12)


def test_ssim_of_images_smaller_than_its_window_is_unavailable(make_context, reference) -> None:
    small = type(reference)(torch.rand(5, 1, 10, 12), None, None, "toy", "test", "ef" * 32)
    with pytest.raises(UnavailableError, match="image_smaller_than_window"):
        ssim.METRIC.compute(make_context(object(), reference=small))
