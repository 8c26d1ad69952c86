import math

import pytest
import torch
from torch import nn

from genmodels.objectives.penalties import (
    clip_weights,
    deviation_from_unit_norm,
    interpolated,
    squared_gradient_norm,
)


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights():
    linear = nn.Linear(12, 1)
    x = torch.rand(5, 3, 2, 2, requires_grad=True)
    norm = squared_gradient_norm(linear(x.flatten(1)).squeeze(1), x)
    assert norm.shape == (5,)
    torch.testing.assert_close(norm, linear.weight.square().sum().expand(5))


def test_the_gradient_with_respect_to_the_unit_range_is_twice_as_long():
    linear = nn.Linear(12, 1)
    x = torch.rand(5, 12, requires_grad=True)
    inside, outside = 2 * x - 1, x
    logits = linear(inside).squeeze(1)
    torch.testing.assert_close(
        squared_gradient_norm(logits, outside), 4 * squared_gradient_norm(logits, inside)
    )


def small_discriminator():
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 1)).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3, generator=rng)
    return net, torch.rand(2, 1, 6, 6, generator=rng, dtype=torch.float64)


def test_the_penalty_matches_finite_differences():
    net, x = small_discriminator()
    actual = squared_gradient_norm(net(y := x.clone().requires_grad_()).squeeze(1), y)
    step, expected = 1e-5, torch.zeros(2, dtype=torch.float64)
    for i in range(36):
        shift = torch.zeros(36, dtype=torch.float64)
        shift[i] = step
        shift = shift.reshape(1, 1, 6, 6)
        with torch.no_grad():
            slope = (net(x + shift) - net(x - shift)).squeeze(1) / (2 * step)
        expected += slope.square()
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=0)


def test_the_penalty_s_own_gradient_matches_finite_differences():
    net, x = small_discriminator()

    def penalty():
        y = x.clone().requires_grad_()
        return squared_gradient_norm(net(y).squeeze(1), y).mean()

    weight, step = net[0].weight, 1e-5
    (actual,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight[1, 0, 2, 0] += step
    above = penalty().item()
    with torch.no_grad():
        weight[1, 0, 2, 0] -= 2 * step
    slope = (above - penalty().item()) / (2 * step)
    assert actual[1, 0, 2, 0].item() == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("shape", [lambda norm: norm, deviation_from_unit_norm])
def test_a_zero_gradient_has_a_finite_penalty_with_a_finite_gradient(shape):
    weight = torch.zeros(4, requires_grad=True)
    x = torch.rand(3, 4, requires_grad=True)
    penalty = shape(squared_gradient_norm(x @ weight, x)).mean()
    penalty.backward()
    assert penalty.isfinite()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_the_gradient_penalty_is_the_squared_distance_of_the_norm_from_1():
    weight = torch.tensor([3.0, 4.0, 0.0])
    x = torch.rand(2, 3, requires_grad=True)
    norm = squared_gradient_norm(x @ weight, x)
    torch.testing.assert_close(deviation_from_unit_norm(norm), torch.full((2,), 16.0))


def test_one_interpolation_coefficient_an_image():
    real, fake = torch.ones(200, 2, 3, 3, requires_grad=True), torch.zeros(200, 2, 3, 3)
    between = interpolated(real, fake, torch.Generator().manual_seed(0))
    assert not between.requires_grad
    share = between.flatten(1)
    assert torch.equal(share.amin(1), share.amax(1))
    assert share[:, 0].unique().numel() == 200
    # Uniform on [0, 1]: mean 1/2, variance 1/12; four standard errors of 200 draws.
    assert share[:, 0].mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12 * 200))
    assert share[:, 0].var().item() == pytest.approx(1 / 12, abs=4 * 0.0745 / math.sqrt(200))


def test_interpolated_images_lie_between_their_own_pair():
    rng = torch.Generator().manual_seed(1)
    real, fake = torch.randn(2, 50, 1, 4, 4, generator=rng)
    between = interpolated(real, fake, rng)
    share = ((between - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-3, atol=1e-3)


def test_weights_outside_the_bound_are_clipped_and_others_unchanged():
    weights = [nn.Parameter(torch.tensor([-3.0, 0.005, 0.02])), nn.Parameter(torch.tensor(0.5))]
    clip_weights(weights, 0.01)
    assert weights[0].tolist() == pytest.approx([-0.01, 0.005, 0.01])
    assert weights[1].item() == pytest.approx(0.01)
