"""Tests of the one rule: closed forms, scipy, and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluation.comparing.significance import (
    Sample,
    all_pairs,
    differences,
    holm,
    interval,
    is_testable,
    permutation,
    seeds_needed,
    welch,
)


def test_the_interval_is_that_of_scipy() -> None:
    values = [3.1, 2.7, 3.6, 2.9]
    peer = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((peer.low, peer.high), rel=1e-12)


def test_one_seed_has_no_interval() -> None:
    assert interval([3.1]) is None


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_covers_the_mean_over_training_seeds(n: int) -> None:
    """Training seeds of spread 1, each the mean of three sets of samples of spread 0.5."""
    rng = np.random.default_rng(n)
    trained = rng.normal(7.0, 1.0, (2000, n))
    values = (trained[..., None] + rng.normal(0.0, 0.5, (2000, n, 3))).mean(-1)
    covered = [low < 7.0 < high for low, high in map(interval, values.tolist())]
    # 95 % within four standard errors of 2,000 draws; the issue asks for 90 to 99 %.
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))


def test_what_can_be_tested_follows_from_the_exact_permutation_test() -> None:
    assert [is_testable(n, n, 1) for n in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert is_testable(3, 5, 1)
    assert not is_testable(1, 100, 1)  # one value has no spread, whatever the other side has
    # 2 / C(10, 5) = 0.0079 is below 0.05 / 6 and above 0.05 / 7.
    assert is_testable(5, 5, 6)
    assert not is_testable(5, 5, 7)


def test_the_smallest_p_of_a_permutation_test_is_the_yardstick() -> None:
    for n in (3, 4, 5):
        apart = [float(i) for i in range(n)], [100.0 + i for i in range(n)]
        assert permutation(*apart) == pytest.approx(2 / math.comb(2 * n, n))


def test_a_permutation_test_by_hand() -> None:
    # The 6 ways to deal 1 2 4 8 in twos differ by 9, 5, 3, -3, -5, -9 (sums); 2 reach |-9|, 4 |5|.
    assert permutation([1.0, 2.0], [4.0, 8.0]) == pytest.approx(2 / 6)
    assert permutation([1.0, 4.0], [2.0, 8.0]) == pytest.approx(4 / 6)
    assert permutation([1.0, 8.0], [2.0, 4.0]) == pytest.approx(1.0)


def test_welch_is_that_of_scipy() -> None:
    one, other = [1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 9.0]
    peer = stats.ttest_ind(one, other, equal_var=False).pvalue
    assert welch(Sample.of(one), Sample.of(other)) == pytest.approx(peer, rel=1e-12)


def test_values_without_spread_are_equal_or_different_beyond_doubt() -> None:
    one, other = Sample.of([1.0, 1.0]), Sample.of([2.0, 2.0])
    assert welch(one, one) == 1
    assert welch(one, other) == 0


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_rate_of_false_findings() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        values = {name: rng.normal(size=5).tolist() for name in "abcd"}
        found = all_pairs(values, higher_is_better=False).values()
        assert all(difference.is_testable for difference in found)
        wrong += any(difference.is_significant for difference in found)
    assert wrong / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_pairs_put_the_better_model_first_in_either_direction() -> None:
    values = {"a": [1.0, 1.1], "b": [2.0, 2.2], "alone": [3.0], "empty": []}
    assert list(all_pairs(values, higher_is_better=False)) == [("a", "b")]
    assert list(all_pairs(values, higher_is_better=True)) == [("b", "a")]


def test_untestable_pairs_are_never_significant_and_cost_no_correction() -> None:
    far = [11.0, 12, 13, 14, 15]
    values = {"a": [1.0, 1.01], "b": [5.0, 5.01], "c": [1.0, 2, 3, 4, 5], "d": far}
    found = all_pairs(values, higher_is_better=False)
    assert found["a", "b"].verdict == "not testable"
    assert not found["a", "b"].is_significant
    # a and b against c and d have 21 permutations, too few; only c against d is corrected, by 1.
    assert found["c", "d"].p == found["c", "d"].unadjusted
    assert found["c", "d"].verdict == "better"
    assert (found["c", "d"].num_pairs, found["c", "d"].num_tested) == (6, 1)


LOW, HIGH = [1.0, 1.1, 0.9, 1.05], [2.0, 2.1, 1.9, 2.05]
NEAR = [1.1, 1.0, 0.95, 1.05]


@pytest.mark.parametrize(
    ("model", "baseline", "higher_is_better", "verdict", "sentence"),
    [
        (LOW, HIGH, False, "better", "m is better than b (Welch's t-test: p = 3.1e-06)"),
        (LOW, HIGH, True, "worse", "m is worse than b (Welch's t-test: p = 3.1e-06)"),
        (LOW, HIGH, None, "different", "m and b differ (Welch's t-test: p = 3.1e-06)"),
        (
            LOW,
            NEAR,
            False,
            "not distinguishable",
            "m and b are not distinguishable (Welch's t-test: p = 0.82)",
        ),
        (
            LOW[:3],
            HIGH[:3],
            False,
            "not testable",
            "The difference between m and b is not testable with 3 seeds",
        ),
        (
            LOW[:1],
            HIGH,
            False,
            "not testable",
            "The difference between m and b is not testable with 1 seed",
        ),
    ],
)
def test_a_verdict_and_its_words(model, baseline, higher_is_better, verdict, sentence) -> None:
    pair = Sample.of(model), Sample.of(baseline)
    (difference,) = differences([pair], higher_is_better)
    assert difference.verdict == verdict
    assert difference.value == pytest.approx(np.mean(model) - np.mean(baseline))
    assert difference.sentence("m", "b") == sentence
    assert difference.reversed() == differences([pair[::-1]], higher_is_better)[0]


def test_several_pairs_are_corrected_and_the_words_say_so() -> None:
    low, high = Sample.of([*LOW, 1.0]), Sample.of([*HIGH, 2.0])
    compared = differences([(low, high), (high, low), (low, low)], higher_is_better=False)
    assert [one.verdict for one in compared] == ["better", "worse", "not distinguishable"]
    assert compared[0].p == 3 * compared[0].unadjusted
    assert [one.short() for one in compared][1:] == ["worse, p 7.4e-08", "not distinguishable, p 1"]
    assert compared[0].sentence("m", "b") == (
        "m is better than b (Welch's t-test: "
        "p = 7.4e-08 after Holm's correction over 3 pairs, 2.5e-08 before)"
    )
    few = differences([(Sample(1.0, 0.1, 2), Sample(2.0, 0.1, 2))] * 66, higher_is_better=False)
    assert few[0].short() == "not testable"
    assert few[0].sentence("m", "b").endswith("is not testable with 2 seeds among 66 pairs")


def test_moments_are_enough() -> None:
    pair = Sample.of(LOW), Sample(2.0125, 0.08539125638299666, 4)
    assert pair[1].mean == pytest.approx(Sample.of(HIGH).mean)
    (difference,) = differences([pair], higher_is_better=False)
    assert difference.p == pytest.approx(welch(Sample.of(LOW), Sample.of(HIGH)))
    assert pair[1].interval() == pytest.approx(interval(HIGH))


def test_the_seeds_needed_are_those_of_a_simulated_study() -> None:
    one, other = [0.0, math.sqrt(2)], [1.0, 1 + math.sqrt(2)]  # deviation 1, difference 1
    n = seeds_needed(Sample.of(one), Sample.of(other), num_pairs=1)
    assert n == 17  # two-sided t test, effect size 1, power 0.8: the textbook value
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, (2000, n)), rng.normal(1, 1, (2000, n))
    power = np.mean(stats.ttest_ind(*draws, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.05)


def test_more_comparisons_need_more_seeds_and_equal_means_cannot_be_told_apart() -> None:
    one, other = Sample.of([0.0, 1.0]), Sample.of([1.0, 2.0])
    assert seeds_needed(one, other, 1) < seeds_needed(one, other, 66)
    assert seeds_needed(one, one, 1) is None
    assert seeds_needed(Sample(1.0, 0.0, 2), Sample(2.0, 0.0, 2), 1) == 4
