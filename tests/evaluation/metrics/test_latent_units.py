"""Active units and the divergence of each latent dimension."""

import math

import pytest
import torch
from torch.distributions import Normal

from evaluation.measuring.records import UnavailableError
from evaluation.metrics import active_units, kl_per_dim, rate
from evaluation.metrics.kl_per_dim import kl_to_unit_normal
from tests.evaluation.metrics.latents import PixelEncoder, normal
from tests.evaluation.metrics.linear_gaussian import LinearGaussian


def test_active_units_are_the_rows_of_a_linear_encoder_with_variance(measure) -> None:
    rows = torch.tensor([0.0, 0.05, 0.09, 0.12, 1.0], dtype=torch.float64)
    directions, _ = torch.linalg.qr(normal(6, 6))
    encoder = rows[:, None] * directions[:5]
    pixels = normal(5000, 6, seed=1)
    measured = measure(active_units, pixels @ encoder.T)
    assert measured.value == 2  # variances 0, 0.0025, 0.0081, 0.0144 and 1
    assert measured.params == {"threshold": 0.01, "latent_dim": 5}


def test_the_variance_of_active_units_is_the_unbiased_one() -> None:
    # 2 * 0.08^2 = 0.0128; divided by the number of images it would be 0.0064.
    assert active_units.active_units(torch.tensor([[0.08], [-0.08]])) == 1


def test_a_collapsed_posterior_has_no_active_unit_and_no_divergence(measure) -> None:
    zeros = torch.zeros(50, 4)
    assert measure(active_units, zeros).value == 0
    measured = measure(kl_per_dim, zeros)
    assert (measured.value, measured.params["sum"]) == (0, 0)
    assert measured.params["kl_per_dim"] == [0, 0, 0, 0]


@pytest.mark.parametrize("module", [active_units, kl_per_dim])
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (PixelEncoder(std=None), "deterministic_encoder"),
        (PixelEncoder(std=None, unit_normal_prior=False), "deterministic_encoder"),
        (PixelEncoder(unit_normal_prior=False), "no_unit_normal_prior"),
    ],
)
def test_without_a_posterior_and_a_unit_prior_the_values_are_null(
    measure, module, model: PixelEncoder, reason: str
) -> None:
    with pytest.raises(UnavailableError, match=f"^{reason}$"):
        measure(module, normal(20, 3), model=model)


def test_the_divergence_is_the_mean_of_the_log_ratio_over_draws() -> None:
    mean = torch.tensor([0.0, 1.5, -0.3, 2.0], dtype=torch.float64)
    std = torch.tensor([1.0, 0.2, 1.7, 0.01], dtype=torch.float64)
    z = mean + std * normal(100_000, 4)
    ratio = Normal(mean, std).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((kl_to_unit_normal(mean, std) - ratio.mean(0)).abs() <= 4 * error).all()
    assert kl_to_unit_normal(mean, std)[0] == 0


def test_the_divergences_of_the_dimensions_sum_up_to_the_rate(make_context) -> None:
    model = LinearGaussian(shift=0.4, stretch=0.8)
    context = make_context(model, reference=model.draw(100))
    measured = kl_per_dim.METRIC.compute(context)["kl_per_dim_max"]
    total = rate.METRIC.compute(context)["rate"].value
    assert measured.params["sum"] == pytest.approx(total, rel=1e-10)
    assert sum(measured.params["kl_per_dim"]) == pytest.approx(total, rel=1e-10)


def test_the_dimension_with_the_largest_divergence_is_first(measure) -> None:
    latents = torch.tensor([0.5, 3.0, 0.0, -1.0]).expand(10, 4)
    measured = measure(kl_per_dim, latents)
    assert measured.params["dimensions"] == [1, 3, 0, 2]
    assert measured.params["kl_per_dim"] == [4.5, 0.5, 0.125, 0]
    assert measured.value == 4.5
