import pytest
import torch

from genmodels.base.augmentation import cutout, diffaugment, translate


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n=300, shape=(2, 28, 20)):
    return torch.rand(n, *shape, generator=rng(9)) + 0.5


def shifted(image, down, right):
    out = torch.zeros_like(image)
    height, width = image.shape[1:]
    rows = slice(max(down, 0), height + min(down, 0))
    columns = slice(max(right, 0), width + min(right, 0))
    from_rows = slice(max(-down, 0), height + min(-down, 0))
    from_columns = slice(max(-right, 0), width + min(-right, 0))
    out[:, rows, columns] = image[:, from_rows, from_columns]
    return out


def test_a_translation_is_a_whole_shift_of_up_to_an_eighth_with_grey_edges():
    x = pictures()
    out = translate(x, rng())
    visible = []
    for image, moved in zip(x, out, strict=True):
        fits = [
            (down, right)
            for down in range(-5, 6)
            for right in range(-4, 5)
            if torch.equal(shifted(image, down, right), moved)
        ]
        assert len(fits) == 1
        visible += fits
    assert {down for down, _ in visible} == set(range(-4, 5))  # an eighth of 28 is 3.5
    assert {right for _, right in visible} == {-2, -1, 0, 1, 2}  # an eighth of 20 is 2.5
    assert len(set(visible)) > 35  # of 45: both directions are drawn independently


def test_the_hole_is_a_grey_square_of_half_the_side_around_any_pixel():
    x = pictures(2000, (1, 28, 28))
    out = cutout(x, rng())
    holes = (out == 0).squeeze(1)
    assert torch.equal(out[~holes.unsqueeze(1)], x[~holes.unsqueeze(1)])
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), heights * widths)  # a rectangle
    assert heights.max() == widths.max() == 14
    assert heights.min() == widths.min() == 7  # half of the hole is outside
    # Each row is hidden by 7 (edge) to 14 (middle) of the 28 positions of the hole.
    hidden = holes.any(2).float().mean(0)
    assert hidden[14].item() == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)
    assert hidden[0].item() == pytest.approx(8 / 28, abs=4 * 0.46 / 2000**0.5)


def test_zero_stays_zero_and_one_call_draws_differently_for_each_image():
    assert diffaugment(torch.zeros(4, 1, 8, 8), rng()).abs().max() == 0
    out = diffaugment(torch.ones(64, 1, 28, 28), rng())
    assert len({image.numpy().tobytes() for image in out}) > 60


def test_the_augmentation_depends_on_the_generator_only():
    x = pictures(16)
    first = diffaugment(x, rng(1))
    torch.rand(3)
    assert torch.equal(diffaugment(x, rng(1)), first)
    assert not torch.equal(diffaugment(x, rng(2)), first)


def test_the_augmentation_is_linear_and_its_gradient_is_the_transposed_map():
    x, y = torch.randn(2, 8, 1, 12, 12, generator=rng(3))
    both = diffaugment(2 * x + y, rng(5))
    torch.testing.assert_close(both, 2 * diffaugment(x, rng(5)) + diffaugment(y, rng(5)))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad((diffaugment(x, rng(5)) * y).sum(), x)
    # <T x, y> = <x, T' y>
    inner = (diffaugment(x, rng(5)) * y).sum()
    torch.testing.assert_close((gradient * x).sum(), inner, rtol=1e-5, atol=1e-5)
    assert gradient.abs().max() > 0


def test_a_gradient_penalty_of_an_augmented_image_has_a_gradient():
    x = torch.randn(3, 1, 8, 8, generator=rng(4), requires_grad=True)
    score = diffaugment(x, rng(6)).square().flatten(1).sum(1)
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    # At a visible pixel the score's gradient is 2 x and the gradient of its square is 8 x.
    visible = gradient != 0
    torch.testing.assert_close(second[visible], 8 * x[visible])
    assert second[~visible].abs().max() == 0


def test_reduced_precision_does_not_round_the_pixels():
    x = pictures(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = diffaugment(x, rng(7))
    assert torch.equal(out, diffaugment(x, rng(7)))
