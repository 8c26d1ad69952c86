import math

import pytest
import torch

from evaluation.metrics.inception_score import class_score, class_shares, split_scores


def certain(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).double() * 1e4


def test_uniform_rows_score_one() -> None:
    assert class_score(torch.zeros(50, 7)) == pytest.approx(1, abs=1e-10)


def test_certain_and_balanced_rows_score_the_number_of_classes() -> None:
    assert class_score(certain(torch.arange(70) % 7, 7)) == pytest.approx(7, abs=1e-10)


def test_certain_rows_score_the_exponential_of_the_entropy_of_their_shares() -> None:
    labels = torch.tensor([0] * 80 + [1] * 20)
    expected = math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    # A class that never comes adds nothing, and no NaN either.
    assert class_score(certain(labels, 3)) == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(1.64938, abs=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1e4])
def test_the_score_lies_between_one_and_the_number_of_classes(rng, scale: float) -> None:
    score = class_score(scale * torch.randn(100, 10, generator=rng))
    assert 1 <= score <= 10


def test_splits_are_nearly_equal_and_repeat_with_their_seed(rng, monkeypatch) -> None:
    logits = torch.randn(91, 5, generator=rng)
    scores = split_scores(logits, seed=4)
    assert torch.equal(scores, split_scores(logits, seed=4))
    assert not torch.equal(scores, split_scores(logits, seed=5))
    sizes = []
    monkeypatch.setattr(
        "evaluation.metrics.inception_score.class_score", lambda part: sizes.append(len(part)) or 1
    )
    split_scores(logits, seed=4)
    assert sum(sizes) == 91
    assert set(sizes) == {9, 10}


def test_the_order_of_the_rows_does_not_matter(rng) -> None:
    logits = torch.randn(60, 5, generator=rng)
    order = torch.randperm(60, generator=rng)
    assert class_score(logits[order]) == pytest.approx(class_score(logits), rel=1e-12)


def test_class_shares_count_absent_classes_as_zero() -> None:
    assert class_shares(certain(torch.tensor([0, 0, 2, 0]), 4)).tolist() == [0.75, 0, 0.25, 0]
