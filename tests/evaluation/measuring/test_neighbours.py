"""The search against all distances written out, on points that are hard for the fast formula."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from evaluation.measuring import neighbours
from evaluation.measuring.context import UnavailableError
from evaluation.measuring.neighbours import nearest, overlap, overlap_of

K = 5


def _hard_cases(d: int) -> dict[str, tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(d)
    x = torch.randn(150, d, generator=rng, dtype=torch.float64)
    y = torch.randn(120, d, generator=rng, dtype=torch.float64)
    with_outlier = torch.cat([1e12 * x[:1], x[1:]])
    order = torch.randperm(len(x), generator=rng)
    grid = [torch.randint(3, (n, d), generator=rng).double() for n in (150, 120)]
    return {
        "plain": (x, y),
        "single precision": (x.float(), y.float()),
        "far from the origin": (x + 1e6, y + 1e6),
        "copies in another order": (x, x[order]),
        "nearly copies": (x, x + 1e-9),
        "ties": (grid[0], grid[1]),
        "an outlier among the queries": (with_outlier, y),
        "an outlier among the keys": (y, with_outlier),
        "all equal": (torch.full((150, d), 0.3), torch.full((120, d), 0.3)),
        "one side all equal": (x, y[:1].expand(120, -1)),
        "huge": (1e60 * x, 1e60 * y),
        "tiny": (1e-60 * x, 1e-60 * y),
        "two scales": (torch.cat([1e-12 * x, x + 3]), torch.cat([1.1e-12 * y, y + 3])),
    }


CASES = {f"{name}, d={d}": sides for d in (1, 3, 40) for name, sides in _hard_cases(d).items()}


@dataclass(frozen=True)
class Brute:
    """All distances of two sets by differences of coordinates."""

    across: Tensor
    own_x: Tensor
    own_y: Tensor

    @staticmethod
    def of(x: Tensor, y: Tensor) -> "Brute":
        return Brute(_differences(x, y), _others(x), _others(y))


def _differences(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _others(x: Tensor) -> Tensor:
    return _differences(x, x).fill_diagonal_(torch.inf)


@pytest.fixture(params=[2**21, 700], ids=["one chunk", "many chunks"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_CHUNK", request.param)


@pytest.fixture(params=CASES)
def sides(request) -> tuple[Tensor, Tensor]:
    return CASES[request.param]


def test_nearest_is_what_all_distances_say(sides, chunked) -> None:
    x, y = sides
    distances, indices = nearest(x, y, K)
    ordered = _differences(x, y).sort(dim=1, stable=True)
    assert torch.equal(distances, ordered.values[:, :K])
    assert torch.equal(indices, ordered.indices[:, :K])


def test_nearest_others_leave_out_the_point_itself(sides, chunked) -> None:
    x, _ = sides
    distances, indices = nearest(x, x, K, torch.arange(len(x)))
    ordered = _others(x).sort(dim=1, stable=True)
    assert torch.equal(distances, ordered.values[:, :K])
    assert torch.equal(indices, ordered.indices[:, :K])


def test_bounds_that_are_always_in_doubt_change_nothing(sides, monkeypatch) -> None:
    x, y = sides
    found = nearest(x, y, K)
    monkeypatch.setattr(neighbours, "_SPARE", 0)
    for one, other in zip(found, nearest(x, y, K), strict=True):
        assert torch.equal(one, other)


def test_overlap_is_what_all_distances_say(sides, chunked) -> None:
    x, y = sides
    sets, brute = overlap(x, y, K), Brute.of(x, y)
    own_x, own_y = (own.sort(dim=1).values[:, :K] for own in (brute.own_x, brute.own_y))
    assert torch.equal(sets.reference.own, own_x)
    assert torch.equal(sets.generated.own, own_y)
    assert torch.equal(sets.reference.own_index, brute.own_x.argmin(1))
    assert torch.equal(sets.generated.own_index, brute.own_y.argmin(1))
    for k in range(K):
        in_reference = (brute.across < own_x[:, k, None]).sum(0)
        in_generated = (brute.across < own_y[:, k]).sum(1)
        assert torch.equal(sets.generated.containing[:, k], in_reference)
        assert torch.equal(sets.reference.containing[:, k], in_generated)


def test_overlap_knows_who_is_nearest_across_within_reach(sides, chunked) -> None:
    x, y = sides
    sets, brute = overlap(x, y, K), Brute.of(x, y)
    reach = torch.maximum(sets.reference.own[:, -1:], sets.generated.own[:, -1])
    within = brute.across.where(brute.across <= reach, torch.inf)
    for side, distances in ((sets.reference, within), (sets.generated, within.T)):
        assert torch.equal(side.across, distances.min(1).values)
        near = side.across.isfinite()
        assert torch.equal(side.across_index[near], distances.min(1).indices[near])


def test_a_point_is_at_distance_zero_from_itself_and_its_copies() -> None:
    rng = torch.Generator().manual_seed(0)
    x = 7 + torch.rand(400, 784, generator=rng)
    assert nearest(x, x)[0].abs().max() == 0
    assert torch.equal(nearest(x, x)[1][:, 0], torch.arange(400))
    twice = torch.cat([x, x])
    assert nearest(twice, twice, exclude=torch.arange(800))[0].abs().max() == 0
    # What the remedy is for: the fast formula, even in double precision.
    assert (
        torch.cdist(x.double(), x.double(), compute_mode="use_mm_for_euclid_dist").diagonal().any()
    )


def test_bounds_are_below_the_squared_distances_and_close_to_them(sides) -> None:
    x, y = (side.double() for side in sides)
    screen = neighbours._Screen.of(x, y)
    bounds = torch.cat([part for _, part in screen.chunks()]).double()
    exact = (_differences(x, y) / screen.scale).square()
    assert (bounds <= exact).all()
    norms = [((side - y.mean(0)) / screen.scale).square().sum(1) for side in (x, y)]
    slack = 4 * (x.shape[1] + 16) * torch.finfo(screen.x.dtype).eps
    assert (exact - bounds <= slack * (norms[0][:, None] + norms[1]) + 1e-35).all()


@pytest.fixture
def half_precision_products():
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    yield
    setting.fp32_precision = before


def test_single_precision_is_what_proposes() -> None:
    x, y = CASES["plain, d=40"]
    assert neighbours._Screen.of(x, y).x.dtype == torch.float32


def test_single_precision_that_is_less_than_that_is_not_relied_on(half_precision_products) -> None:
    x, y = CASES["plain, d=40"]
    assert neighbours._Screen.of(x, y).x.dtype == torch.float64
    assert torch.equal(nearest(x, y, K)[0], _differences(x, y).sort(dim=1).values[:, :K])


def test_more_neighbours_than_there_are_points_are_refused() -> None:
    x = torch.zeros(4, 2)
    assert nearest(x, x, 4)[0].shape == (4, 4)
    with pytest.raises(ValueError, match="5 neighbours asked for, there are 4"):
        nearest(x, x, 5)
    with pytest.raises(ValueError, match="4 neighbours asked for, there are 3"):
        nearest(x, x, 4, torch.arange(4))


def test_a_small_set_has_fewer_neighbours() -> None:
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    assert overlap(x, x[:3] + 1).neighbours == 2
    assert overlap(x[:2], x + 1).neighbours == 1
    assert overlap(x, x + 1).neighbours == neighbours.NEIGHBOURS


def test_the_overlap_of_a_model_is_computed_once_for_each_set_of_samples(
    make_context, model, monkeypatch
) -> None:
    calls = []
    monkeypatch.setattr(neighbours, "overlap", lambda *sets: calls.append(sets) or overlap(*sets))
    context = make_context(model)
    first = overlap_of(context)
    assert overlap_of(context.view(context.extractor, context.seeds.sample)) is first
    assert len(calls) == 1
    other = overlap_of(context.view(context.extractor, context.seeds.sample + 1))
    assert not torch.equal(other.generated.own, first.generated.own)
    assert torch.equal(calls[0][0], context.reference_features)


def test_one_image_is_too_few(make_context, model, reference) -> None:
    with pytest.raises(UnavailableError, match="too_few_samples"):
        overlap_of(make_context(model, reference=reference.first(1)))
