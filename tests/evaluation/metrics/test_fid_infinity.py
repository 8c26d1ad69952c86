import math
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.measuring.moments import frechet_parts
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import fid_infinity
from evaluation.metrics.fid_infinity import BLOCKS, POINTS, extrapolate
from tests.bench.fid_infinity import CASES, Case, cover, gaussians, shared_classes

REPEATS = 20


def normal(rng: torch.Generator, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def of_generated_only(x: Tensor, y: Tensor, rng: torch.Generator) -> float:
    """The extrapolation as it was published: the real set stays whole."""
    sizes = torch.linspace(len(y) // 5, len(y), POINTS).round().long().tolist()
    distances = [sum(frechet_parts(x, y[torch.randperm(len(y), generator=rng)[:n]])) for n in sizes]
    return np.polyfit(1 / np.array(sizes), distances, 1)[1]


def bias(values: list[float]) -> float:
    """The mean in units of its Monte Carlo error."""
    return fmean(values) / (stdev(values) / math.sqrt(len(values)))


def test_it_is_zero_on_average_for_samples_of_one_distribution() -> None:
    values, published = [], []
    for seed in range(REPEATS):
        rng = torch.Generator().manual_seed(seed)
        x, y = normal(rng, 500, 16), normal(rng, 500, 16)
        values.append(extrapolate(x, y, seed).intercept)
        published.append(of_generated_only(x, y, rng))
    assert abs(bias(values)) < 4
    assert bias(published) > 4


def test_rows_of_shared_classes_stay_together() -> None:
    case = shared_classes("", 500, 8, 5)
    together, apart = [], []
    for seed in range(REPEATS):
        rng = torch.Generator().manual_seed(seed)
        x, y = case.draw(rng)
        together.append(extrapolate(x, y, seed).intercept)
        apart.append(extrapolate(x, y[torch.randperm(500, generator=rng)], seed).intercept)
    assert abs(bias(together)) < 4
    assert bias(apart) < -4


@pytest.mark.parametrize(
    "case",
    [
        gaussians("equal", 300, torch.ones(8).double(), 1.0, 0.0),
        gaussians("shifted and narrower", 300, torch.linspace(0.2, 2, 8).double(), 0.9, 0.1),
        gaussians("far apart", 300, torch.ones(8).double(), 0.5, 1.0),
    ],
    ids=lambda case: case.name,
)
def test_the_stated_error_holds_the_truth_in_nine_of_ten_draws(case: Case) -> None:
    found = cover(case, 40)
    assert found.held >= 36
    # An interval that holds the truth because it is wide would be of no use.
    assert fmean(found.errors) < 2 * stdev(found.values)


def test_the_bench_covers_what_metrics_meet() -> None:
    assert min(case.truth for case in CASES) == 0
    assert {case.draw(torch.Generator())[0].shape[1] for case in CASES} == {16, 64}


def test_a_line_is_extrapolated_exactly(monkeypatch, rng) -> None:
    monkeypatch.setattr(fid_infinity, "frechet_parts", lambda x, y: (3.0, 500 / len(x)))
    line = extrapolate(normal(rng, 300, 4), normal(rng, 300, 4), 0)
    assert line.intercept == pytest.approx(3, rel=1e-12)
    assert line.slope == pytest.approx(500, rel=1e-12)
    assert line.residual_sd == pytest.approx(0, abs=1e-12)
    # 300 rows make 15 equal blocks, whose pseudo-values are all 3.
    assert line.standard_error == pytest.approx(0, abs=1e-12)


def test_the_line_is_that_of_least_squares_over_all_subsets(monkeypatch, rng) -> None:
    points = []

    def remember(x: Tensor, y: Tensor) -> tuple[float, float]:
        parts = frechet_parts(x, y)
        points.append((1 / len(x), sum(parts)))
        return parts

    monkeypatch.setattr(fid_infinity, "frechet_parts", remember)
    line = extrapolate(normal(rng, 200, 4), normal(rng, 200, 4), 0)
    subsets = np.array(points[:-BLOCKS])
    assert len(subsets) == 14 * 5 + 1
    assert sorted(set((1 / subsets[:, 0]).round())) == pytest.approx(np.linspace(40, 200, 15), 0.01)
    slope, intercept = np.polyfit(subsets[:, 0], subsets[:, 1], 1)
    assert (line.intercept, line.slope) == pytest.approx((intercept, slope), rel=1e-9)
    residuals = subsets[:, 1] - intercept - slope * subsets[:, 0]
    assert line.residual_sd == pytest.approx(math.sqrt((residuals**2).sum() / 69), rel=1e-9)


def test_a_pure_shift_needs_no_extrapolation(rng) -> None:
    x, shift = normal(rng, 200, 6), normal(rng, 1, 6)
    line = extrapolate(x, x + shift, 0)
    assert line.intercept == pytest.approx(shift.square().sum().item(), rel=1e-9)
    assert line.slope == pytest.approx(0, abs=1e-9)


def test_its_subsets_come_from_the_seed(rng) -> None:
    x, y = normal(rng, 100, 3), normal(rng, 100, 3)
    assert extrapolate(x, y, 1) == extrapolate(x, y, 1)
    assert extrapolate(x, y, 1) != extrapolate(x, y, 2)


def test_the_smallest_subset_must_have_three_rows_a_feature(rng) -> None:
    x = normal(rng, 150, 10)
    assert extrapolate(x, x, 0).smallest == 30
    with pytest.raises(UnavailableError, match="too_few_for_extrapolation"):
        extrapolate(x[:149], x[:149], 0)


def test_sets_of_two_sizes_have_no_common_n(rng) -> None:
    with pytest.raises(ValueError, match="one shape"):
        extrapolate(normal(rng, 100, 2), normal(rng, 90, 2), 0)
