"""Known faults of evaluations, each with a check that detects it.

A check runs twice: it passes with the correct code and fails with the fault planted in the code
that it calls. If the identity of images or of an extractor is the guard, the fault is in the
arguments, and the correct code has to refuse or ignore them.
"""

import contextlib

import pytest
import torch
from torch import Tensor

from evaluation.comparing import leaderboard
from evaluation.measuring import images, model_calls, moments
from evaluation.measuring import overlap as overlap_module
from evaluation.measuring.context import Seeds
from evaluation.measuring.real_images import RealImages
from evaluation.metrics import precision_recall
from evaluation.runner import Settings, evaluate

SETTINGS = Settings(Seeds(train=0, sample=1, metric=2), max_samples=30, batch_size=16)


def check_that_dropped_modes_cost_recall_and_not_precision() -> None:
    rng = torch.Generator().manual_seed(0)
    reference = torch.cat([torch.randn(200, 4, generator=rng) + 20 * i for i in range(4)])
    generated = torch.cat([torch.randn(400, 4, generator=rng) + 20 * i for i in range(2)])
    sets = overlap_module.overlap(reference, generated)
    assert precision_recall.precision(sets) > 0.8
    assert precision_recall.recall(sets) < 0.6


def test_swapped_sides_are_caught_by_dropped_modes(monkeypatch) -> None:
    check_that_dropped_modes_cost_recall_and_not_precision()
    overlap = overlap_module.Overlap
    monkeypatch.setattr(overlap_module, "Overlap", lambda one, other: overlap(other, one))
    with pytest.raises(AssertionError):
        check_that_dropped_modes_cost_recall_and_not_precision()


def test_stored_features_of_another_extractor_are_not_used(
    make_context, model, make_extractor, reference
) -> None:
    """They are keyed by the extractor's hash."""
    other = {make_extractor(seed=9).sha256: torch.zeros(40, 8)}
    planted = RealImages(reference.images, reference.labels, other, "toy", "test", reference.sha256)
    features = make_context(model, reference=planted).reference_features
    assert torch.equal(features, make_context(model).reference_features)
    assert features.std() > 0


def test_values_of_two_extractors_are_not_compared(model, reference, train, make_extractor) -> None:
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
            leaderboard.Row(name, "x", "x", {}, summary, {"0": [r.to_dict() for r in records]})
        )
    leaderboard.leaderboard(rows[:1], [])
    with pytest.raises(ValueError, match="a and b are not comparable: extractor"):
        leaderboard.leaderboard(rows, [])


def check_that_8_bit_images_survive() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    centred = levels.float() / 255 * 2 - 1
    assert torch.equal(images.quantise((centred + 1) / 2), levels.float() / 255)


def test_truncation_instead_of_rounding_is_caught_by_the_256_levels(monkeypatch) -> None:
    check_that_8_bit_images_survive()
    monkeypatch.setattr(images, "to_uint8", lambda x: (x.clamp(0, 1) * 255).to(torch.uint8))
    with pytest.raises(AssertionError):
        check_that_8_bit_images_survive()


def test_a_generator_in_train_mode_is_caught_by_unequal_samples(
    monkeypatch, make_context, model
) -> None:
    """The toy model has dropout, which is random in train mode."""

    def check() -> None:
        one, two = (make_context(model).samples for _ in range(2))
        assert torch.equal(one, two)

    check()
    monkeypatch.setattr(model_calls, "evaluation_mode", lambda model: contextlib.nullcontext())
    model.train()
    with torch.random.fork_rng(), torch.no_grad(), pytest.raises(AssertionError):
        check()


def spread_cloud() -> tuple[Tensor, float]:
    """Features (12, 3) and their total variance, ddof=1, by its definition."""
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, ((x - x.mean(0)).square().sum() / 11).item()


def check_that_a_cloud_is_its_variance_away_from_its_mean() -> None:
    """The distance of a cloud and its mean is the trace of the cloud's covariance."""
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
