from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.figures import grids


def test_tiles_stand_row_by_row_with_gaps_between() -> None:
    images = torch.arange(3).float().reshape(3, 1, 1, 1).expand(3, 1, 2, 2) / 2
    grid = np.asarray(grids.image_grid(images, columns=2, scale=1))
    gap = grids.GAP
    assert grid.tolist() == [
        [0, 0, gap, 128, 128],
        [0, 0, gap, 128, 128],
        [gap] * 5,
        [255, 255, gap, gap, gap],
        [255, 255, gap, gap, gap],
    ]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_grey_and_colour_keep_their_mode_and_scale(channels: int, mode: str) -> None:
    grid = grids.image_grid(torch.rand(4, channels, 5, 7), columns=2, scale=3)
    assert grid.mode == mode
    assert grid.size == (3 * 15, 3 * 11)


def test_values_outside_the_range_are_clamped() -> None:
    images = torch.tensor([-1.0, 2.0]).reshape(2, 1, 1, 1)
    assert np.asarray(grids.image_grid(images, 2, 1)).tolist() == [[0, grids.GAP, 255]]


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (2, 2, 2, 2), (2, 2, 2)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 1 or 3, H, W\)"):
        grids.image_grid(torch.zeros(shape), 2)


def test_each_original_stands_above_its_reconstruction() -> None:
    x = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8]).reshape(5, 1, 1, 1)
    grid = grids.reconstruction_grid(x, x / 2, columns=2, scale=1)
    values = np.asarray(grid)[::2, ::2] / 255
    np.testing.assert_allclose(values, [[0, 0.2], [0, 0.1], [0.4, 0.6], [0.2, 0.3]], atol=0.003)


def test_pairs_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        grids.reconstruction_grid(torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 4, 4), 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_doubled_picture_is_made_small_without_loss(channels: int) -> None:
    images = torch.rand(4, channels, 5, 7)
    small, doubled = (grids.image_grid(images, 2, scale) for scale in (1, 2))
    assert grids.undoubled(grids.png(doubled)) == grids.png(small)


def test_a_picture_that_is_not_doubled_stays_as_it_is() -> None:
    for scale in (1, 3):
        content = grids.png(grids.image_grid(torch.rand(4, 1, 5, 7), 2, scale))
        assert grids.undoubled(content) == content


def test_a_saved_picture_is_whole_lossless_and_repeats_its_bytes(tmp_path: Path) -> None:
    grid = grids.image_grid(torch.rand(4, 1, 8, 8), 2)
    first, second = tmp_path / "new" / "a.png", tmp_path / "b.png"
    grids.save_png(grid, first)
    grids.save_png(grid, second)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(grid))
        assert opened.info == {}
    assert [path.name for path in first.parent.iterdir()] == ["a.png"]
