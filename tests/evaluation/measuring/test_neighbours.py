"""The search against all distances, on points that are hard for the fast formula."""

import pytest
import torch

from evaluation.measuring import neighbours
from evaluation.measuring.neighbours import nearest
from tests.evaluation.measuring.hard_points import CASES, K, differences, distances_to_others


def test_the_nearest_equal_those_of_all_distances(sides, chunked) -> None:
    x, y = sides
    distances, indices = nearest(x, y, K)
    ordered = differences(x, y).sort(dim=1, stable=True)
    assert torch.equal(distances, ordered.values[:, :K])
    assert torch.equal(indices, ordered.indices[:, :K])


def test_an_excluded_point_is_no_neighbour(sides, chunked) -> None:
    x, _ = sides
    distances, indices = nearest(x, x, K, torch.arange(len(x)))
    ordered = distances_to_others(x).sort(dim=1, stable=True)
    assert torch.equal(distances, ordered.values[:, :K])
    assert torch.equal(indices, ordered.indices[:, :K])


def test_bounds_that_never_decide_change_nothing(sides, monkeypatch) -> None:
    x, y = sides
    expected = nearest(x, y, K)
    monkeypatch.setattr(neighbours, "_SPARE", 0)
    for one, other in zip(expected, nearest(x, y, K), strict=True):
        assert torch.equal(one, other)


def test_a_point_is_at_distance_zero_from_itself_and_its_copies() -> None:
    rng = torch.Generator().manual_seed(0)
    x = 7 + torch.rand(400, 784, generator=rng)
    assert nearest(x, x)[0].abs().max() == 0
    assert torch.equal(nearest(x, x)[1][:, 0], torch.arange(400))
    twice = torch.cat([x, x])
    assert nearest(twice, twice, exclude=torch.arange(800))[0].abs().max() == 0
    # The fast formula fails here, even in double precision.
    assert (
        torch.cdist(x.double(), x.double(), compute_mode="use_mm_for_euclid_dist").diagonal().any()
    )


def test_bounds_are_below_the_squared_distances_and_close_to_them(sides) -> None:
    x, y = (side.double() for side in sides)
    lower = neighbours.LowerBounds.of(x, y)
    bounds = torch.cat([part for _, part in lower.chunks()]).double()
    exact = (differences(x, y) / lower.scale).square()
    assert (bounds <= exact).all()
    norms = [((side - y.mean(0)) / lower.scale).square().sum(1) for side in (x, y)]
    slack = 4 * (x.shape[1] + 16) * torch.finfo(lower.x.dtype).eps
    assert (exact - bounds <= slack * (norms[0][:, None] + norms[1]) + 1e-35).all()


@pytest.fixture
def half_precision_products():
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    yield
    setting.fp32_precision = before


def test_the_bounds_are_in_single_precision() -> None:
    x, y = CASES["plain, d=40"]
    assert neighbours.LowerBounds.of(x, y).x.dtype == torch.float32


def test_reduced_float32_products_need_bounds_in_double_precision(
    half_precision_products,
) -> None:
    x, y = CASES["plain, d=40"]
    assert neighbours.LowerBounds.of(x, y).x.dtype == torch.float64
    assert torch.equal(nearest(x, y, K)[0], differences(x, y).sort(dim=1).values[:, :K])


def test_more_neighbours_than_there_are_points_are_refused() -> None:
    x = torch.zeros(4, 2)
    assert nearest(x, x, 4)[0].shape == (4, 4)
    with pytest.raises(ValueError, match="k = 5 neighbours, expected 1 to 4"):
        nearest(x, x, 5)
    with pytest.raises(ValueError, match="k = 4 neighbours, expected 1 to 3"):
        nearest(x, x, 4, torch.arange(4))
