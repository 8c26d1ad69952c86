import pytest
import torch

from genmodels.objectives.mmd import SCALES, squared_mmd


def draws(seed, size=256, dim=16):
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))


def test_the_estimate_equals_explicit_sums_over_pairs():
    a, b = draws(0, 5, 3).double(), draws(1, 5, 3).double() + 1

    def kernel(u, v):
        return sum(6 * s / (6 * s + (u - v).square().sum()) for s in SCALES)

    among = sum(
        kernel(a[i], a[j]) + kernel(b[i], b[j]) for i in range(5) for j in range(5) if i - j
    )
    between = sum(kernel(u, v) for u in a for v in b)
    torch.testing.assert_close(squared_mmd(a, b), among / 20 - 2 * between / 25, rtol=1e-12, atol=0)


def test_the_estimate_is_unbiased_and_may_be_negative():
    values = torch.stack([squared_mmd(draws(2 * i), draws(2 * i + 1)) for i in range(200)])
    assert abs(values.mean()) < 4 * values.std() / 200**0.5
    assert values.min() < 0
    assert values.std().item() == pytest.approx(0.0033, rel=0.2)


def test_the_estimate_with_the_diagonal_would_be_biased():
    # The bias of a mean over all pairs, with the diagonal, for equal distributions.
    values = torch.stack([squared_mmd(draws(2 * i), draws(2 * i + 1)) for i in range(50)])
    distance = (draws(0)[:, None] - draws(1)[None]).square().sum(2)
    kernel = sum(32 * s / (32 * s + distance) for s in SCALES).mean()
    biased = values + 2 * (len(SCALES) - kernel) / 256
    assert abs(biased.mean()) > 4 * biased.std() / 50**0.5


@pytest.mark.parametrize(
    ("shift", "scale", "expected"), [(0.5, 1.0, 0.27), (0.0, 0.5, 0.44)], ids=["shift", "scale"]
)
def test_a_shift_and_a_wrong_scale_increase_the_mmd(shift, scale, expected):
    values = [squared_mmd(draws(2 * i) * scale + shift, draws(2 * i + 1)) for i in range(20)]
    assert torch.stack(values).mean().item() == pytest.approx(expected, abs=0.02)


def test_the_gradient_is_finite_where_codes_coincide_and_moves_them_to_the_prior():
    codes = torch.full((64, 4), 0.7, requires_grad=True)
    (gradient,) = torch.autograd.grad(squared_mmd(codes, draws(0, 64, 4)), codes)
    assert gradient.isfinite().all()
    assert (gradient > 0).all()
