import pytest
import torch

from evaluation.measuring.images import ROUNDING_MSE, quantise, to_uint8


def test_all_256_levels_survive_the_way_to_float_and_back_also_through_minus_one_to_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    x = levels.float() / 255
    assert torch.equal(to_uint8(x), levels)
    assert torch.equal(to_uint8(((x * 2 - 1) + 1) / 2), levels)
    assert torch.equal(quantise(x), x)


def test_values_outside_are_clamped_instead_of_wrapped() -> None:
    assert to_uint8(torch.tensor([1.004, -0.01])).tolist() == [255, 0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_pixel_that_is_not_finite_is_no_colour(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        quantise(torch.tensor([0.5, bad]))


def test_rounding_adds_the_stated_error(rng) -> None:
    x = torch.rand(200_000, generator=rng, dtype=torch.float64)
    measured = (quantise(x).double() - x).square().mean().item()
    assert measured == pytest.approx(ROUNDING_MSE, rel=0.01)
