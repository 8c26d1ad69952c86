import torch
from torch import nn

from genmodels.penalties import squared_gradient_norm


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


def test_the_penalty_matches_finite_differences():
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 1)).double()
    x = torch.rand(2, 1, 6, 6, generator=rng, dtype=torch.float64)
    got = squared_gradient_norm(net(y := x.clone().requires_grad_()).squeeze(1), y)
    step, expected = 1e-5, torch.zeros(2, dtype=torch.float64)
    for i in range(36):
        shift = torch.zeros(36, dtype=torch.float64)
        shift[i] = step
        shift = shift.reshape(1, 1, 6, 6)
        with torch.no_grad():
            slope = (net(x + shift) - net(x - shift)).squeeze(1) / (2 * step)
        expected += slope.square()
    torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-9)


def test_a_zero_gradient_has_a_finite_penalty_with_a_finite_gradient():
    weight = torch.zeros(4, requires_grad=True)
    x = torch.rand(3, 4, requires_grad=True)
    squared_gradient_norm(x @ weight, x).mean().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
