"""Precision, recall, density, coverage and leave-one-out 1-NN: closed forms, peers, directions."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from evaluation.measuring.context import Seeds
from evaluation.measuring.images import quantise
from evaluation.measuring.neighbours import nearest
from evaluation.measuring.overlap import overlap
from evaluation.measuring.real_images import RealImages
from evaluation.metrics import density_coverage, precision_recall
from evaluation.metrics.density_coverage import coverage, density, expected_coverage
from evaluation.metrics.nearest_neighbour import PERMUTATIONS, accuracies, permutation_test
from evaluation.metrics.precision_recall import precision, recall
from evaluation.runner import FixedImages, Settings, evaluate_images

METRICS = ("precision_recall", "density_coverage", "nearest_neighbour")


def normal(n: int, d: int, rng: torch.Generator) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def prdc(reference: Tensor, generated: Tensor, k: int = 5) -> dict[str, float]:
    sets = overlap(reference, generated, k)
    return {
        "precision": precision(sets, k),
        "recall": recall(sets, k),
        "density": density(sets, k),
        "coverage": coverage(sets, k),
    }


def nn1(reference: Tensor, generated: Tensor) -> tuple[float, ...]:
    """Accuracy over all, over the real and over the generated points."""
    return tuple(accuracies(overlap(reference, generated)).values())


def assert_mean(values: list[float], expected: float) -> None:
    """Within four standard errors."""
    sample = torch.tensor(values, dtype=torch.float64)
    error = sample.std().item() / math.sqrt(len(values))
    assert sample.mean().item() == pytest.approx(expected, abs=4 * error)


# Closed forms


def test_sets_that_are_far_apart_have_nothing_in_common(rng) -> None:
    values = prdc(normal(100, 8, rng), normal(100, 8, rng) + 1000)
    assert set(values.values()) == {0.0}


def test_equal_sets_cover_each_other(rng) -> None:
    x = normal(100, 8, rng)
    # Density, too: without ties a ball contains its centre and all k neighbours but the last.
    assert set(prdc(x, x).values()) == {1.0}


@pytest.mark.parametrize("m", [200, 100])
def test_sets_of_one_distribution_have_density_1_and_the_expected_coverage(rng, m: int) -> None:
    found = [prdc(normal(200, 4, rng), normal(m, 4, rng)) for _ in range(60)]
    assert_mean([one["density"] for one in found], 1.0)
    assert_mean([one["coverage"] for one in found], expected_coverage(200, m, 5))


def test_expected_coverage_is_that_of_the_formula() -> None:
    assert expected_coverage(1000, 1000) == pytest.approx(0.9690, abs=5e-5)
    assert expected_coverage(1000, 500) == pytest.approx(0.8690, abs=5e-5)
    assert expected_coverage(10, 1, 1) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("scale", [3.7, 1e-9, 1e9])
def test_a_common_scale_changes_nothing(rng, scale: float) -> None:
    x, y = normal(200, 8, rng), 1.2 * normal(200, 8, rng)
    assert prdc(scale * x, scale * y) == prdc(x, y)
    assert nn1(scale * x, scale * y) == nn1(x, y)


def test_all_generated_points_on_one_real_point(rng) -> None:
    n, k = 100, 5
    x = normal(n, 3, rng)
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    balls = (distances[0] < distances.sort(dim=1).values[:, k]).sum().item()
    assert balls > 1
    expected = {"precision": 1.0, "recall": 0.0, "density": balls / k, "coverage": balls / n}
    assert prdc(x, x[:1].expand(n, -1)) == pytest.approx(expected, rel=1e-12)


def test_swapping_the_sets_swaps_precision_and_recall(rng) -> None:
    x, y = normal(150, 6, rng), 1.5 * normal(130, 6, rng) + 0.3
    one, other = prdc(x, y), prdc(y, x)
    assert one["precision"] != one["recall"]
    assert (one["precision"], one["recall"]) == (other["recall"], other["precision"])


def test_points_on_the_border_of_a_ball_are_outside() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0]])
    generated = torch.tensor([[-1.0], [9.0], [20.0]])
    # Balls of k=1: (-1, 1), (0, 2), (1, 5).
    values = prdc(real, generated, 1)
    assert (values["precision"], values["density"], values["coverage"]) == (0.0, 0.0, 0.0)
    values = prdc(real, generated + 0.5, 1)
    assert values["precision"] == values["coverage"] == pytest.approx(1 / 3)


def test_1_nn_of_sets_that_are_far_apart_is_always_right(rng) -> None:
    assert nn1(normal(80, 5, rng), normal(80, 5, rng) + 100) == (1.0, 1.0, 1.0)


def test_1_nn_of_copies_is_always_wrong(rng) -> None:
    x = normal(80, 5, rng)
    assert nn1(x, x + 1e-6) == (0.0, 0.0, 0.0)
    assert nn1(x, x) == (0.0, 0.0, 0.0)


def test_1_nn_of_one_distribution_is_right_half_of_the_time(rng) -> None:
    found = [nn1(normal(200, 8, rng), normal(200, 8, rng)) for _ in range(60)]
    for values, points in zip(zip(*found, strict=True), (400, 200, 200), strict=True):
        own = (points if points == 200 else 200) - 1
        assert_mean(list(values), own / 399)


def test_1_nn_has_different_values_for_the_two_sets(rng) -> None:
    """The nearest neighbours of outer and of central points are central points."""
    _, real, fake = nn1(normal(200, 40, rng), 1.5 * normal(200, 40, rng))
    assert real > 0.95
    assert fake < 0.2


def test_1_nn_of_equal_images_is_one_half() -> None:
    equal = torch.zeros(30, 4)
    assert nn1(equal, equal) == (0.5, 0.5, 0.5)
    assert set(prdc(equal, equal).values()) == {0.0}


# Permutations


def test_permutation_p_values_of_one_distribution_are_uniform(rng) -> None:
    tested = [
        permutation_test(overlap(normal(40, 4, rng), normal(60, 4, rng)), seed)
        for seed in range(120)
    ]
    for name in tested[0]:
        p = torch.tensor([one[name]["p_value"] for one in tested])
        for level in (0.1, 0.5):
            error = math.sqrt(level * (1 - level) / len(p))
            # With few points the counts are coarse: the test is conservative, never liberal.
            assert level - 0.1 - 4 * error < (p <= level).double().mean() < level + 4 * error


def test_permutation_p_values_are_the_smallest_for_copies_and_for_far_sets(rng) -> None:
    x = normal(60, 4, rng)
    for generated in (x + 1e-6, x + 50):
        for one in permutation_test(overlap(x, generated), 0).values():
            assert one["p_value"] == 1 / (PERMUTATIONS + 1)


def test_the_expectation_is_the_mean_over_all_permutations_of_the_labels(rng) -> None:
    x, y = normal(4, 2, rng), normal(3, 2, rng)
    pool = torch.cat([x, y])
    neighbour = nearest(pool, pool, exclude=torch.arange(7))[1][:, 0]
    found = []
    for real in combinations(range(7), 4):
        is_real = torch.zeros(7, dtype=torch.bool)
        is_real[list(real)] = True
        same = (is_real == is_real[neighbour]).double()
        found.append([part.mean().item() for part in (same, same[is_real], same[~is_real])])
    tested = permutation_test(overlap(x, y), 0)
    expected = [one["iid_expectation"] for one in tested.values()]
    assert torch.tensor(found).mean(0).tolist() == pytest.approx(expected, rel=1e-6)


def test_equal_images_are_no_evidence() -> None:
    equal = torch.zeros(30, 4)
    for one in permutation_test(overlap(equal, equal), 0).values():
        assert one["p_value"] > 0.05


# Peers


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_equal_those_of_prdc(rng, k: int) -> None:
    peer = pytest.importorskip("prdc")
    x, y = normal(300, 32, rng), 1.1 * normal(250, 32, rng) + 0.1
    expected = peer.compute_prdc(x.numpy(), y.numpy(), k)
    assert prdc(x, y, k) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_are_those_of_torch_fidelity(rng, k: int) -> None:
    peer = pytest.importorskip("torch_fidelity.metric_prc")
    x, y = normal(300, 32, rng), 1.1 * normal(250, 32, rng) + 0.1
    expected = peer.calculate_precision_recall_full(y, x, k)  # generated first
    values = prdc(x, y, k)
    assert (values["precision"], values["recall"]) == pytest.approx(expected, abs=1e-7)


def test_1_nn_is_that_of_scikit_learn(rng) -> None:
    from sklearn.model_selection import LeaveOneOut, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    x, y = normal(60, 5, rng), 1.3 * normal(50, 5, rng)
    labels = (torch.arange(110) < 60).numpy()
    classifier = KNeighborsClassifier(1, algorithm="brute")
    predicted = cross_val_predict(classifier, torch.cat([x, y]).numpy(), labels, cv=LeaveOneOut())
    correct = predicted == labels
    expected = (correct.mean(), correct[:60].mean(), correct[60:].mean())
    assert nn1(x, y) == pytest.approx(expected, rel=1e-12)


# Directions, through the runner


@pytest.fixture
def judge(extractor, make_pictures):
    def run(images: Tensor, n: int = 400) -> dict[str, float | None]:
        reference = RealImages(make_pictures(n, 1), None, {}, "toy", "test", "ab" * 32)
        evaluation = evaluate_images(
            images,
            METRICS,
            reference=reference,
            train=reference,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 0), 400),
        )
        return {record.name.removesuffix("_classifier"): record for record in evaluation.records}

    return run


def values(results, name: str) -> list[float]:
    return [records[name].value for records in results]


def assert_falling(ramp: list[float]) -> None:
    assert ramp == sorted(set(ramp), reverse=True), ramp


def test_noise_images_lower_all_but_recall_and_raise_1_nn(judge, make_pictures, rng) -> None:
    images = make_pictures(400, 5)
    noise = quantise(torch.rand(images.shape, generator=rng))
    results = [judge(torch.cat([images[m:], noise[:m]])) for m in (0, 100, 200, 400)]
    for name in ("precision", "density", "coverage"):
        assert_falling(values(results, name))
    assert_falling([-value for value in values(results, "nn1")])


def test_dropped_classes_lower_recall_and_coverage(judge, make_pictures) -> None:
    results = [judge(make_pictures(400, 5, classes)) for classes in (4, 3, 2, 1)]
    for name in ("recall", "coverage"):
        assert_falling(values(results, name))


def test_repeated_images_raise_density_above_1_and_not_coverage(judge, make_pictures) -> None:
    """Density is a diagnostic only, because a model of one image can exceed the data."""
    images = make_pictures(400, 5)
    whole = judge(images)
    one_each = [judge(image.expand(400, -1, -1, -1)) for image in images[:20]]
    assert max(values(one_each, "density")) > 1.5 * whole["density"].value
    assert max(values(one_each, "coverage")) < 0.1
    assert set(values(one_each, "recall")) == {0.0}


@pytest.mark.parametrize(("n", "missing"), [(3, {"precision", "recall"}), (5, set()), (6, None)])
def test_fewer_images_than_neighbours_are_null(judge, make_pictures, n: int, missing) -> None:
    records = judge(make_pictures(n, 5), n)
    without = {name for name, record in records.items() if record.value is None}
    expected = set() if missing is None else missing | {"density", "coverage"}
    assert without == expected
    assert {records[name].reason for name in without} <= {"fewer_images_than_neighbours"}


def test_records_have_k_and_the_iid_expectation(judge, make_pictures) -> None:
    records = judge(make_pictures(400, 5))
    assert {name: records[name].params["k"] for name in ("precision", "recall")} == {
        "precision": 3,
        "recall": 3,
    }
    assert {records[name].params["k"] for name in ("density", "coverage")} == {5}
    assert records["coverage"].params["iid_expectation"] == expected_coverage(400, 400, 5)
    assert records["density"].params["iid_expectation"] == 1.0
    assert records["density"].higher_is_better is None
    for name in ("nn1", "nn1_real", "nn1_fake"):
        assert 0 < records[name].params["p_value"] <= 1
        assert records[name].ideal == 0.5


def test_a_reference_of_equal_images_has_null_precision_density_and_coverage(
    make_context, model, reference
) -> None:
    """All balls are empty, so the values would be 0 for every model."""
    same = replace(reference, images=reference.images[:1].expand(40, -1, -1, -1))
    context = make_context(model, reference=same)
    found = {
        name.removesuffix("_{extractor}"): measured.reason
        for metric in (precision_recall, density_coverage)
        for name, measured in metric.METRIC.compute(context).items()
    }
    identical = "identical_images"
    assert found == {
        "precision": identical,
        "recall": None,
        "density": identical,
        "coverage": identical,
    }


def test_two_sets_of_one_equal_image_are_null(make_context, reference) -> None:
    same = replace(reference, images=reference.images[:1].expand(40, -1, -1, -1))
    context = make_context(FixedImages(same.images), reference=same)
    for metric in (precision_recall, density_coverage):
        for measured in metric.METRIC.compute(context).values():
            assert (measured.value, measured.reason) == (None, "identical_images")
