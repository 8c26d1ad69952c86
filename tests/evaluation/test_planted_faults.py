"""Faults of known evaluations: each has a check that catches it.

A check runs twice: it holds as the code is, and it fails with the fault planted below the code that
it calls. Where an identity is the guard, of images or of an extractor, the fault is in what is
given, and the code as it is has to refuse it or to leave it aside.
"""

import contextlib

import pytest
import torch
from torch import Tensor

from evaluation.comparing import leaderboard as comparison
from evaluation.measuring import context, images, moments, neighbours
from evaluation.measuring.context import RealImages, Seeds
from evaluation.metrics import precision_recall
from evaluation.runner import Settings, evaluate

SETTINGS = Settings(Seeds(train=0, sample=1, metric=2), max_samples=30, batch_size=16)


def check_that_dropped_modes_cost_recall_and_not_precision() -> None:
    rng = torch.Generator().manual_seed(0)
    reference = torch.cat([torch.randn(200, 4, generator=rng) + 20 * i for i in range(4)])
    generated = torch.cat([torch.randn(400, 4, generator=rng) + 20 * i for i in range(2)])
    sets = neighbours.overlap(reference, generated)
    assert precision_recall.precision(sets) > 0.8
    assert precision_recall.recall(sets) < 0.6


def test_swapped_sides_are_caught_by_dropped_modes(monkeypatch) -> None:
    check_that_dropped_modes_cost_recall_and_not_precision()
    sides = neighbours.Overlap
    monkeypatch.setattr(neighbours, "Overlap", lambda one, other: sides(other, one))
    with pytest.raises(AssertionError):
        check_that_dropped_modes_cost_recall_and_not_precision()


def test_stored_features_of_another_extractor_are_not_taken(
    make_context, model, make_extractor, reference
) -> None:
    """They are keyed by the extractor's hash: foreign ones are as good as none."""
    foreign = {make_extractor(seed=9).sha256: torch.zeros(40, 8)}
    planted = RealImages(
        reference.images, reference.labels, foreign, "toy", "test", reference.sha256
    )
    found = make_context(model, reference=planted).reference_features
    assert torch.equal(found, make_context(model).reference_features)
    assert found.std() > 0


def test_values_of_two_extractors_are_refused_where_they_would_be_compared(
    model, reference, train, make_extractor
) -> None:
    rows = []
    for name, seed in (("a", 1), ("b", 2)):
        records = evaluate(
            model,
            ["fid"],
            reference=reference,
            train=train,
            extractors=[make_extractor(seed=seed)],
            settings=SETTINGS,
        ).records
        summary = {r.name: {"mean": r.value, "std": None, "n": 1} for r in records}
        rows.append(
            comparison.Row(name, "x", "x", {}, summary, {"0": [r.to_dict() for r in records]})
        )
    comparison.leaderboard(rows[:1], [])
    with pytest.raises(ValueError, match="a and b are not comparable: extractor"):
        comparison.leaderboard(rows, [])


def check_that_8_bit_images_survive() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    there = levels.float() / 255 * 2 - 1
    assert torch.equal(images.quantise((there + 1) / 2), levels.float() / 255)


def test_truncation_instead_of_rounding_is_caught_by_the_256_levels(monkeypatch) -> None:
    check_that_8_bit_images_survive()
    monkeypatch.setattr(images, "to_uint8", lambda x: (x.clamp(0, 1) * 255).to(torch.uint8))
    with pytest.raises(AssertionError):
        check_that_8_bit_images_survive()


def test_a_generator_in_train_mode_is_caught_by_its_own_repetition(
    monkeypatch, make_context, model
) -> None:
    """The toy model has dropout, which draws from the global state unless it sleeps."""

    def check() -> None:
        one, two = (make_context(model).samples for _ in range(2))
        assert torch.equal(one, two)

    check()
    monkeypatch.setattr(context, "judged", lambda model: contextlib.nullcontext())
    model.train()
    with torch.random.fork_rng(), torch.no_grad(), pytest.raises(AssertionError):
        check()


def spread_cloud() -> tuple[Tensor, float]:
    """Features (12, 3) and their total variance, ddof=1, by its definition."""
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, ((x - x.mean(0)).square().sum() / 11).item()


def check_that_a_cloud_is_its_variance_away_from_its_mean() -> None:
    """The distance goes through roots: of a point and a cloud it is the trace of one square."""
    x, variance = spread_cloud()
    _, covariance_part = moments.frechet_parts(x, x.mean(0).expand(12, 3))
    assert covariance_part == pytest.approx(variance, rel=1e-12)


def test_a_biased_root_is_caught_by_the_distance_to_a_point(monkeypatch) -> None:
    check_that_a_cloud_is_its_variance_away_from_its_mean()
    unbiased = moments.Moments.mean_and_root

    def biased(self: moments.Moments) -> tuple[Tensor, Tensor]:
        mean, root = unbiased(self)
        return mean, root * ((self.count - 1) / self.count) ** 0.5

    monkeypatch.setattr(moments.Moments, "mean_and_root", biased)
    with pytest.raises(AssertionError):
        check_that_a_cloud_is_its_variance_away_from_its_mean()


def check_that_the_covariance_is_unbiased() -> None:
    x, variance = spread_cloud()
    assert moments.covariance(x).trace().item() == pytest.approx(variance, rel=1e-12)


def test_a_biased_covariance_is_caught_by_its_definition(monkeypatch) -> None:
    check_that_the_covariance_is_unbiased()
    cov = Tensor.cov
    monkeypatch.setattr(Tensor, "cov", lambda self, correction: cov(self, correction=0))
    with pytest.raises(AssertionError):
        check_that_the_covariance_is_unbiased()
