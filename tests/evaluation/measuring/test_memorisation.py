"""Memorisation: closed forms, peers, and the detection of copies among held-out images."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.measuring import memorisation
from evaluation.measuring.context import Seeds
from evaluation.measuring.images import quantise
from evaluation.measuring.memorisation import (
    TrainDistances,
    authentic_share,
    baseline,
    cell_average,
    copy_share,
    measure,
    nearest_pairs,
    rank_z,
)
from evaluation.measuring.neighbours import nearest
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError
from evaluation.runner import Settings, evaluate_images

METRICS = ("memorisation", "memorisation_pixel")
SPACES = ("classifier", "pixel")


def normal(n: int, d: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def measured(generated: Tensor, train: Tensor, held_out: Tensor) -> dict:
    """The three measurements without the suffix."""
    found = measure(generated, baseline(train, held_out, 0), "space")
    return {name.removesuffix("_space"): value for name, value in found.items()}


@pytest.fixture
def sets(rng) -> tuple[Tensor, Tensor]:
    """A train set and a held-out set of one distribution."""
    return normal(2000, 8, rng), normal(1000, 8, rng)


# The rank-sum score


def test_copies_have_the_lowest_score(sets, rng) -> None:
    train, held_out = sets
    copies = train[:1000] + 1e-6 * normal(1000, 8, rng)
    least = measured(copies, train, held_out)["ct"].value
    assert least == pytest.approx(-38.7201, abs=1e-3)
    assert least == pytest.approx(-math.sqrt(3 * 1000 * 1000 / 2001), rel=1e-12)


def test_scores_of_one_distribution_are_standard_normal(rng) -> None:
    scores = []
    for _ in range(200):
        train = normal(80, 4, rng)
        distances = [nearest(normal(60, 4, rng), train)[0][:, 0] for _ in range(2)]
        scores.append(rank_z(*distances))
    found = torch.tensor(scores, dtype=torch.float64)
    assert abs(found.mean().item()) < 4 / math.sqrt(200)
    assert found.std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * 200))


def test_swapping_the_sets_changes_the_sign(rng) -> None:
    one, other = normal(30, 1, rng)[:, 0], normal(50, 1, rng)[:, 0]
    assert rank_z(one, other) == pytest.approx(-rank_z(other, one), rel=1e-12)


def test_ties_count_half() -> None:
    fake, held_out = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 3.0])
    u = (1 + 0) + (2 + 0)  # two ties of the first, none of the second
    assert rank_z(fake, held_out) == pytest.approx((u - 3) / math.sqrt(6 * 6 / 12), abs=1e-12)
    assert rank_z(torch.zeros(5), torch.zeros(9)) == 0


def test_the_rank_sum_is_that_of_scipy(rng) -> None:
    from scipy.stats import mannwhitneyu

    fake, held_out = ((10 * normal(n, 1, rng)[:, 0].abs()).round() for n in (40, 70))
    u = mannwhitneyu(fake.numpy(), held_out.numpy()).statistic
    deviation = math.sqrt(40 * 70 * 111 / 12)
    assert rank_z(fake, held_out) == pytest.approx((u - 40 * 70 / 2) / deviation, rel=1e-12)


# Cells


def distances_in_cells(distance: Tensor, cell: list[int]) -> TrainDistances:
    return TrainDistances(distance, torch.zeros_like(distance), torch.tensor(cell))


def test_cells_are_weighted_by_held_out_points_and_small_cells_are_skipped(rng) -> None:
    fake = distances_in_cells(normal(69, 1, rng)[:, 0].abs(), [0] * 30 + [1] * 20 + [2] * 19)
    real = distances_in_cells(normal(60, 1, rng)[:, 0].abs(), [0] * 10 + [1] * 40 + [2] * 10)
    first = rank_z(fake.distance[:30], real.distance[:10])
    second = rank_z(fake.distance[30:50], real.distance[10:50])
    average, used = cell_average(fake, real)
    assert average == pytest.approx((10 * first + 40 * second) / 50, rel=1e-12)
    assert used == 2


def test_the_average_is_none_if_every_cell_is_too_small() -> None:
    fake = distances_in_cells(torch.rand(38), [0, 1] * 19)
    assert cell_average(fake, distances_in_cells(torch.rand(4), [0, 1, 2, 3])) == (None, 0)
    # Enough generated points, but no held-out point in their cell.
    assert cell_average(distances_in_cells(torch.rand(20), [4] * 20), fake) == (None, 0)


def test_the_cell_average_detects_copies_that_the_global_score_misses(rng) -> None:
    """Copies in a sparse region are farther from the train set than anything in a dense one."""
    centres = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0], [50.0, 50.0]])
    spread = torch.tensor([0.1, 0.1, 0.1, 0.1, 10.0])

    def draw(n: int) -> Tensor:
        which = torch.arange(n) % 5
        return centres[which] + spread[which, None] * torch.randn(n, 2, generator=rng)

    train, held_out = draw(500), draw(500)
    copies = draw(500)
    sparse = torch.arange(500) % 5 == 4
    copies[sparse] = train[sparse] + 0.5 * torch.randn(100, 2, generator=rng)
    ct = measured(copies, train, held_out)["ct"]
    assert ct.params["cells_used"] == 5
    # Four deviations of a mean of five standard normals, but not two of one.
    assert ct.params["cell_average"] < -4 / math.sqrt(5)
    assert ct.value > -2


# Authenticity and copies


def test_copies_are_never_authentic_and_always_close(sets) -> None:
    train, held_out = sets
    values = measured(train[:500], train, held_out)
    assert values["authpct"].value == 0
    assert values["copy_share"].value == 1


def test_the_share_of_close_held_out_points_is_the_quantile(rng) -> None:
    shares = []
    for _ in range(30):
        train = normal(300, 4, rng)
        halves = [nearest(normal(400, 4, rng), train)[0][:, 0] for _ in range(2)]
        shares.append(copy_share(*halves))
    error = torch.tensor(shares).std().item() / math.sqrt(30)
    # The interpolated quantile of n points has (1 + (n - 1) / 100) / (n + 1) below it on average.
    assert sum(shares) / 30 == pytest.approx((1 + 399 / 100) / 401, abs=4 * error)


def test_authentic_share_is_that_of_all_distances(rng) -> None:
    train, generated = normal(90, 3, rng), normal(70, 3, rng)
    within, across = torch.cdist(train, train), torch.cdist(generated, train)
    spacing = within.fill_diagonal_(torch.inf).min(1).values
    expected = (across.min(1).values > spacing[across.argmin(1)]).double().mean().item()
    assert measured(generated, train, generated)["authpct"].value == expected
    assert 0 < expected < 1


def test_held_out_points_have_the_authentic_share_of_their_distribution(rng) -> None:
    """0.65 in 16 dimensions, not one half."""
    train, held_out, generated = (normal(n, 16, rng) for n in (1500, 1500, 1500))
    value = measured(generated, train, held_out)["authpct"]
    error = math.sqrt(2 * 0.25 / 1500)
    assert value.value == pytest.approx(value.params["held_out"], abs=4 * error)
    assert 0.6 < value.value < 0.75


def test_the_copy_share_is_null_if_held_out_images_are_train_images() -> None:
    distances = torch.cat([torch.zeros(5), torch.ones(95)]).double()
    assert copy_share(torch.zeros(10).double(), distances) is None
    train = torch.arange(100.0)[:, None]
    values = measured(train[:30], train, train[:30])
    for name in ("ct", "copy_share"):
        assert (values[name].value, values[name].reason) == (None, "held_out_copies")


def test_copies_are_null_if_the_held_out_set_is_the_train_set(rng) -> None:
    """If all distances of both sets are 0, the rank sum would be 0, the ideal value."""
    train = normal(200, 3, rng)
    values = measured(train[:100], train, train[100:])
    assert rank_z(torch.zeros(100), torch.zeros(100)) == 0
    assert (values["ct"].value, values["ct"].reason) == (None, "held_out_copies")
    assert values["authpct"].value == 0
    assert "held_out" not in values["authpct"].params


# Nearest images


def test_the_nearest_image_of_a_shifted_one_is_its_source(rng) -> None:
    train = torch.rand(200, 1, 12, 12, generator=rng)
    order = torch.randperm(200, generator=rng)
    distances, indices = nearest((train[order] + 1e-3).flatten(1), train.flatten(1))
    assert torch.equal(indices[:, 0], order)
    assert distances[:, 0].tolist() == pytest.approx([12e-3] * 200, abs=1e-5)
    assert nearest(train[order].flatten(1), train.flatten(1))[0].abs().max() == 0


def test_the_pairs_are_the_closest_ones_in_order(rng) -> None:
    train = torch.rand(50, 1, 12, 12, generator=rng)
    generated = torch.rand(40, 1, 12, 12, generator=rng)
    generated[7], generated[30] = train[11], train[3] + 0.01
    pairs = nearest_pairs(generated, train)
    assert pairs.generated[:2].tolist() == [7, 30]
    assert pairs.train[:2].tolist() == [11, 3]
    assert pairs.distance[:2].tolist() == pytest.approx([0, 0.12], abs=1e-5)
    every = (generated.flatten(1)[:, None].double() - train.flatten(1).double()).norm(dim=2)
    closest = every.min(1).values.sort().values[:16]
    assert pairs.distance.tolist() == pytest.approx(closest.tolist(), rel=1e-12)
    assert torch.equal(pairs.train, every.argmin(1)[pairs.generated])
    assert len(nearest_pairs(generated[:5], train).generated) == 5


def test_distances_go_from_generated_to_train_images(rng) -> None:
    """In the other direction, a set with half copies would have almost no close images."""
    train, held_out = normal(1000, 8, rng), normal(200, 8, rng)
    half_copied = torch.cat([train[:100], normal(100, 8, rng)])
    share = measured(half_copied, train, held_out)["copy_share"].value
    assert share == pytest.approx(0.5, abs=0.06)
    forth = nearest(half_copied, train)[0].mean()
    assert forth < nearest(train, half_copied)[0].mean()


# Through the runner


@pytest.fixture
def judge(extractor, make_pictures):
    def run(images: Tensor, metrics=METRICS, **changed):
        train = RealImages(make_pictures(500, 2), None, {}, "toy", "train", "cd" * 32)
        reference = RealImages(make_pictures(300, 1), None, {}, "toy", "test", "ab" * 32)
        given = {"train": train, "reference": reference} | changed
        evaluation = evaluate_images(
            images,
            metrics,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 0), 300),
            **given,
        )
        return {record.name: record for record in evaluation.records}

    return run


@pytest.mark.parametrize("space", SPACES)
def test_every_value_gets_worse_with_the_share_of_copies(judge, make_pictures, space: str) -> None:
    held_out, train = make_pictures(300, 7), make_pictures(500, 2)
    results = [judge(torch.cat([train[:n], held_out[n:]])) for n in (0, 30, 150, 300)]
    for name, sign in (("ct", -1), ("authpct", -1), ("copy_share", 1)):
        ramp = [sign * records[f"{name}_{space}"].value for records in results]
        assert ramp == sorted(set(ramp)), (name, ramp)
    assert results[-1][f"ct_{space}"].value == pytest.approx(-math.sqrt(3 * 300**2 / 601), rel=1e-3)


@pytest.mark.parametrize("space", SPACES)
def test_noise_is_far_from_the_train_set(judge, make_pictures, rng, space: str) -> None:
    held_out = make_pictures(300, 7)
    noise = torch.randn(held_out.shape, generator=rng)
    # At 0.1 all of them are farther in pixels, and the score is at its greatest.
    scores = [judge(quantise(held_out + s * noise))[f"ct_{space}"].value for s in (0, 0.03, 0.1)]
    assert scores == sorted(set(scores))


@pytest.mark.parametrize("space", SPACES)
def test_params_have_the_value_of_held_out_images(judge, make_pictures, space) -> None:
    records = judge(make_pictures(300, 7))
    for name in ("ct", "authpct", "copy_share"):
        record = records[f"{name}_{space}"]
        assert isinstance(record.params["held_out"], float)
        assert record.reason is None
    assert abs(records[f"ct_{space}"].params["held_out"]) < 4
    assert abs(records[f"ct_{space}"].value) < 4
    # These images as the reference: their own held-out value is what they had as a model's.
    reference = RealImages(make_pictures(300, 7), None, {}, "toy", "test", "ef" * 32)
    again = judge(make_pictures(300, 1), reference=reference)
    name = f"authpct_{space}"
    assert again[name].params["held_out"] == records[name].value
    assert again[name].value == records[name].params["held_out"]


def test_the_held_out_images_are_searched_once_for_all_sets_of_samples(
    make_context, model, monkeypatch
) -> None:
    from evaluation.metrics.memorisation import METRIC

    calls = []
    search = memorisation._train_distances
    monkeypatch.setattr(
        memorisation, "_train_distances", lambda *sets: calls.append(sets) or search(*sets)
    )
    context = make_context(model)
    for seed in (1, 2, 3):
        METRIC.compute(context.view(context.extractor, seed))
    assert len(calls) == 4


def test_the_global_random_state_of_numpy_is_left_alone(judge, make_pictures) -> None:
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    judge(make_pictures(300, 7))
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    assert after["pos"] == before["pos"]
    assert (after["key"] == before["key"]).all()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_train_images_are_null(judge, make_pictures, train, n: int) -> None:
    records = judge(make_pictures(300, 7), train=train.first(n))
    assert {(record.value, record.reason) for record in records.values()} == {
        (None, "too_few_train_images")
    }


def test_fewer_distinct_train_images_than_cells_are_allowed(judge, make_pictures) -> None:
    few = RealImages(make_pictures(3, 2), None, {}, "toy", "train", "cd" * 32)
    equal = replace(few, images=few.images[:1].expand(20, -1, -1, -1))
    for train in (few, equal):
        for record in judge(make_pictures(300, 7), train=train).values():
            assert record.reason is None
            assert math.isfinite(record.value)


def test_a_baseline_needs_two_train_points() -> None:
    with pytest.raises(UnavailableError, match="too_few_train_images"):
        baseline(torch.zeros(1, 3), torch.zeros(5, 3), 0)


def test_shares_are_strict() -> None:
    assert copy_share(torch.tensor([1.0, 1.0, 0.5, 2.0]), torch.ones(9)) == 0.25
    points = TrainDistances(
        torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 4.0]), torch.zeros(3)
    )
    assert authentic_share(points) == pytest.approx(1 / 3)
