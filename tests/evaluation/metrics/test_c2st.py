import math
from statistics import fmean, stdev
from unittest import mock

import pytest
import torch
from torch import Tensor

from evaluation.measuring.records import UnavailableError
from evaluation.measuring.shares import wilson
from evaluation.metrics import c2st
from evaluation.metrics.c2st import ACCURACY, AUROC, fold_scores, half_p_value
from evaluation.runner import FixedImages


def normal(rng: torch.Generator, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


class PixelsAsFeatures:
    """An extractor whose features are the pixels."""

    name, sha256 = "classifier", "00" * 32

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def measured(make_context, reference):
    """Both values of two sets of features."""

    def measure(real: Tensor, fake: Tensor) -> dict[str, c2st.Measurement]:
        shape = (1, 1, real.shape[1])
        # Scaled, because images are in [0, 1]; the metric standardises its features.
        images = [(side / 20 + 0.5).view(-1, *shape).float() for side in (real, fake)]
        real_images = type(reference)(images[0], None, {}, "toy", "test", "ab" * 32)
        changed = {"reference": real_images, "extractor": PixelsAsFeatures()}
        return c2st.METRIC.compute(make_context(FixedImages(images[1]), **changed))

    return measure


def test_the_accuracy_of_two_gaussians_has_a_closed_form(measured, rng) -> None:
    n, apart = 2000, 1.0
    fake = normal(rng, n, 4)
    fake[:, 0] += apart
    values = measured(normal(rng, n, 4), fake)
    accuracy = 0.5 + 0.5 * math.erf(apart / 2 / math.sqrt(2))
    ranked = 0.5 + 0.5 * math.erf(apart / 2)
    assert (accuracy, ranked) == pytest.approx((0.6915, 0.7602), abs=1e-4)
    # Four standard errors of half of the images.
    assert values[ACCURACY].value == pytest.approx(accuracy, abs=4 * 0.462 / math.sqrt(n))
    assert values[AUROC].value == pytest.approx(ranked, abs=4 * 0.427 / math.sqrt(n))
    assert values[ACCURACY].params["p_value"] < 1e-20


def test_samples_of_one_distribution_are_not_separable(measured) -> None:
    held, accuracies, p_values = {ACCURACY: 0, AUROC: 0}, [], []
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        values = measured(normal(rng, 100, 4), normal(rng, 100, 4))
        for name in held:
            interval = values[name].interval
            held[name] += interval["low"] <= 0.5 <= interval["high"]
        accuracies.append(values[ACCURACY].value)
        p_values.append(values[ACCURACY].params["p_value"])
    assert fmean(accuracies) == pytest.approx(0.5, abs=4 * stdev(accuracies) / 10)
    # One accuracy of 200 images, which is worth between 100 and 200 independent ones.
    assert 0.5 / math.sqrt(200) < stdev(accuracies) < 0.5 / math.sqrt(100)
    assert max(abs(value - 0.5) for value in accuracies) < 4 * 0.5 / math.sqrt(100)
    assert min(held.values()) >= 90
    # A p-value of counts is uniform up to the probability of one count, 0.08 at most.
    for level in (0.05, 0.25, 0.5, 0.75):
        share = fmean(p <= level for p in p_values)
        error = 4 * math.sqrt(level * (1 - level) / 100)
        assert level - 0.08 - error < share < level + error


def test_every_row_is_held_out_once_by_a_classifier_without_it(rng) -> None:
    x, y = normal(rng, 23, 3), normal(rng, 27, 3)
    folds = list(fold_scores(x, y, 0))
    assert sum(len(real) for real, _ in folds) == 23
    assert sum(len(fake) for _, fake in folds) == 27
    assert {len(real) for real, _ in folds} == {4, 5}
    # 50 dimensions for 50 rows: a classifier fitted to these rows would classify all correctly.
    wide = [normal(rng, 25, 50) for _ in range(2)]
    correct = sum(c2st.num_correct(*scores) for scores in fold_scores(*wide, 0))
    assert correct < 40


def test_the_same_rows_are_drawn_from_both_large_sets(rng, monkeypatch) -> None:
    monkeypatch.setattr(c2st, "MAX_IMAGES", 40)
    x = normal(rng, 200, 3)
    with mock.patch.object(c2st, "fold_scores", wraps=fold_scores) as scored:
        values = [c2st.two_sample_test(x, x + 1, seed) for seed in (0, 1)]
    assert {value.num for by_name in values for value in by_name.values()} == {40}
    assert values[0][ACCURACY].interval["count"] == 40
    drawn = [call.args[0] for call in scored.call_args_list]
    for rows, call in zip(drawn, scored.call_args_list, strict=True):
        assert torch.equal(call.args[1], rows + 1)
    # Drawn with the seed; the first rows could all be of one class.
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], x[:40])


def test_small_sets_are_used_whole_and_in_their_order(rng) -> None:
    x, y = normal(rng, 30, 3), normal(rng, 30, 3)
    with mock.patch.object(c2st, "fold_scores", wraps=fold_scores) as scored:
        c2st.two_sample_test(x, y, 0)
    for call in scored.call_args_list:
        assert torch.equal(call.args[0], x)
        assert torch.equal(call.args[1], y)


def test_constant_features_have_accuracy_one_half() -> None:
    same = torch.ones(20, 3)
    folds = list(fold_scores(same, same, 0))
    assert fmean(c2st.num_correct(*scores) / sum(map(len, scores)) for scores in folds) == 0.5
    assert half_p_value(same, same, 0) > 0.5


def test_the_scale_of_a_feature_does_not_matter(rng) -> None:
    x, y = normal(rng, 50, 3), normal(rng, 50, 3) + 0.5
    scales = torch.tensor([1.0, 1e-4, 1e4])
    for one, other in zip(
        fold_scores(x, y, 0), fold_scores(x * scales, y * scales, 0), strict=True
    ):
        torch.testing.assert_close(one[0], other[0], rtol=1e-3, atol=1e-3)


def test_folds_need_five_images_per_set(make_context, model, reference) -> None:
    with pytest.raises(UnavailableError, match="too_few_samples"):
        c2st.METRIC.compute(make_context(model, reference=reference.first(4)))
    values = c2st.METRIC.compute(make_context(model, reference=reference.first(5)))
    assert set(values) == {ACCURACY, AUROC}


def test_an_interval_for_half_the_images_is_wider_than_the_binomial_one() -> None:
    width = {n: wilson(0.5, n)["high"] - wilson(0.5, n)["low"] for n in (1000, 2000)}
    assert width[1000] / width[2000] == pytest.approx(math.sqrt(2), rel=0.01)
