import math
from statistics import fmean, stdev
from unittest import mock

import pytest
import torch
from torch import Tensor

from evaluation.measuring.images import quantise
from evaluation.measuring.metric_classifier import halves, num_epochs
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.shares import wilson
from evaluation.metrics import c2st, c2st_pixel
from evaluation.metrics.c2st import ACCURACY, AUROC, fold_scores, half_p_value
from evaluation.metrics.c2st_pixel import held_out_scores
from evaluation.runner import FixedImages


def normal(rng: torch.Generator, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


class Handed:
    """An extractor that takes the pixels for features."""

    name, sha256 = "classifier", "00" * 32

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def judged(make_context, reference):
    """Both values of two sets of features, as the runner gets them."""

    def measure(real: Tensor, fake: Tensor) -> dict[str, c2st.Measurement]:
        shape = (1, 1, real.shape[1])
        # Scaled, because images are in [0, 1]; the judge standardises its features.
        images = [(side / 20 + 0.5).view(-1, *shape).float() for side in (real, fake)]
        known = type(reference)(images[0], None, {}, "toy", "test", "ab" * 32)
        given = {"reference": known, "extractor": Handed()}
        return c2st.METRIC.compute(make_context(FixedImages(images[1]), **given))

    return measure


def test_gaussians_are_told_apart_as_their_distance_says(judged, rng) -> None:
    n, apart = 2000, 1.0
    fake = normal(rng, n, 4)
    fake[:, 0] += apart
    values = judged(normal(rng, n, 4), fake)
    accuracy = 0.5 + 0.5 * math.erf(apart / 2 / math.sqrt(2))
    ranked = 0.5 + 0.5 * math.erf(apart / 2)
    assert (accuracy, ranked) == pytest.approx((0.6915, 0.7602), abs=1e-4)
    # Four standard errors, of which half the images are counted.
    assert values[ACCURACY].value == pytest.approx(accuracy, abs=4 * 0.462 / math.sqrt(n))
    assert values[AUROC].value == pytest.approx(ranked, abs=4 * 0.427 / math.sqrt(n))
    assert values[ACCURACY].params["p_value"] < 1e-20


def test_halves_of_one_sample_are_not_told_apart(judged) -> None:
    held, accuracies, p_values = {ACCURACY: 0, AUROC: 0}, [], []
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        values = judged(normal(rng, 100, 4), normal(rng, 100, 4))
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


def test_every_row_is_judged_once_and_not_by_a_judge_that_knows_it(rng) -> None:
    x, y = normal(rng, 23, 3), normal(rng, 27, 3)
    folds = list(fold_scores(x, y, 0))
    assert sum(len(real) for real, _ in folds) == 23
    assert sum(len(fake) for _, fake in folds) == 27
    assert {len(real) for real, _ in folds} == {4, 5}
    # Labels that only a judge that knows the rows could tell: 50 dimensions for 50 rows.
    wide = [normal(rng, 25, 50) for _ in range(2)]
    right = sum(c2st.num_correct(*scores) for scores in fold_scores(*wide, 0))
    assert right < 40


def test_of_large_sets_the_same_rows_of_both_are_judged(rng, monkeypatch) -> None:
    monkeypatch.setattr(c2st, "MAX_IMAGES", 40)
    x = normal(rng, 200, 3)
    with mock.patch.object(c2st, "fold_scores", wraps=fold_scores) as judge:
        values = [c2st.two_sample_test(x, x + 1, seed) for seed in (0, 1)]
    assert {value.num for found in values for value in found.values()} == {40}
    assert values[0][ACCURACY].interval["count"] == 40
    drawn = [call.args[0] for call in judge.call_args_list]
    for rows, call in zip(drawn, judge.call_args_list, strict=True):
        assert torch.equal(call.args[1], rows + 1)
    # By the seed, and not the first ones, which one class may fill.
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], x[:40])


def test_small_sets_are_judged_whole_and_in_their_order(rng) -> None:
    x, y = normal(rng, 30, 3), normal(rng, 30, 3)
    with mock.patch.object(c2st, "fold_scores", wraps=fold_scores) as judge:
        c2st.two_sample_test(x, y, 0)
    for call in judge.call_args_list:
        assert torch.equal(call.args[0], x)
        assert torch.equal(call.args[1], y)


def test_constant_features_tell_nothing() -> None:
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


def test_folds_need_five_images_a_side(make_context, model, reference) -> None:
    with pytest.raises(UnavailableError, match="too_few_samples"):
        c2st.METRIC.compute(make_context(model, reference=reference.first(4)))
    values = c2st.METRIC.compute(make_context(model, reference=reference.first(5)))
    assert set(values) == {ACCURACY, AUROC}


@pytest.fixture
def on_pixels(make_context, make_pictures, reference):
    """The values of images beside 400 real ones."""
    real = type(reference)(make_pictures(400, 1), None, {}, "toy", "test", "ab" * 32)

    def measure(images: Tensor) -> dict[str, c2st_pixel.Measurement]:
        return c2st_pixel.METRIC.compute(make_context(FixedImages(images), reference=real))

    return measure


def test_held_out_images_pass_for_real_ones_to_a_network(on_pixels, make_pictures) -> None:
    for value in on_pixels(make_pictures(400, 5)).values():
        assert value.interval["low"] < 0.5 < value.interval["high"]
        assert value.params.get("p_value", 1) > 0.05


def test_a_network_tells_worse_images_better(on_pixels, make_pictures, rng) -> None:
    real = make_pictures(400, 5)
    noise = torch.randn(real.shape, generator=rng)
    ramp = [on_pixels(quantise(real + s * noise)) for s in (0.0, 0.1, 0.2)]
    accuracies = [values["c2st_pixel"].value for values in ramp]
    assert accuracies == sorted(set(accuracies))
    assert ramp[-1]["c2st_pixel"].value > 0.9
    assert ramp[-1]["c2st_pixel_auroc"].value > 0.95
    assert ramp[-1]["c2st_pixel"].params["p_value"] < 1e-6


def test_missing_classes_show_to_a_network(on_pixels, make_pictures) -> None:
    ramp = [on_pixels(make_pictures(400, 5, k))["c2st_pixel"].value for k in (4, 2, 1)]
    assert ramp == sorted(set(ramp))


def test_a_network_is_tested_on_the_halves_that_it_did_not_learn(on_pixels, make_pictures) -> None:
    values = on_pixels(make_pictures(400, 5))
    assert values["c2st_pixel"].params["train_images"] == 400
    assert values["c2st_pixel"].interval["count"] == 400
    assert values["c2st_pixel_auroc"].interval["count"] == 200
    known, tested = halves(7, torch.Generator().manual_seed(0))
    assert (len(known), len(tested)) == (3, 4)
    assert sorted(torch.cat([known, tested]).tolist()) == list(range(7))


def test_what_a_network_judges_it_has_not_learned(monkeypatch) -> None:
    seen: dict[str, list[int]] = {"learned": [], "judged": []}

    class Remembers:
        def logits(self, x: Tensor) -> Tensor:
            seen["judged"] += x.flatten().int().tolist()
            return torch.zeros(len(x), 2)

    def learn(images: Tensor, labels: Tensor, num_classes: int, seed: int) -> Remembers:
        seen["learned"] += images.flatten().int().tolist()
        assert torch.equal(labels, (images.flatten() >= 10).long())
        return Remembers()

    monkeypatch.setattr(c2st_pixel, "train_metric_classifier", learn)
    real, fake = torch.arange(20.0).view(2, 10, 1, 1, 1)
    held_out_scores(real, fake, 0)
    assert len(seen["learned"]) == len(seen["judged"]) == 10
    assert sorted(seen["learned"] + seen["judged"]) == list(range(20))


def test_the_training_has_a_budget() -> None:
    assert [num_epochs(n) for n in (2, 30, 1000, 2000, 10_000, 20_000)] == [10, 10, 10, 5, 1, 1]


def test_a_network_repeats_with_its_seed(make_pictures) -> None:
    real, fake = make_pictures(60, 1), make_pictures(60, 2)
    one, again, other = (held_out_scores(real, fake, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_images_that_are_all_the_same_train_no_network() -> None:
    same = torch.zeros(20, 1, 12, 12)
    with pytest.raises(UnavailableError, match="judge_not_trainable"):
        held_out_scores(same, same, 0)


def test_an_interval_for_half_the_images_is_wider_than_the_binomial_one() -> None:
    width = {n: wilson(0.5, n)["high"] - wilson(0.5, n)["low"] for n in (1000, 2000)}
    assert width[1000] / width[2000] == pytest.approx(math.sqrt(2), rel=0.01)
