"""Tests that know what the seeds can say: closed forms, scipy, and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluation.comparing.significance import (
    Pair,
    groups,
    holm,
    interval,
    is_testable,
    pairs,
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
    assert welch(one, other) == pytest.approx(peer, rel=1e-12)


def test_values_without_spread_are_equal_or_different_beyond_doubt() -> None:
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_rate_of_false_findings() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        values = {name: rng.normal(size=5).tolist() for name in "abcd"}
        found = pairs(values, higher_is_better=False)
        assert all(pair.testable for pair in found)
        wrong += any(pair.apart for pair in found)
    assert wrong / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_pairs_put_the_better_model_first_in_either_direction() -> None:
    values = {"a": [1.0, 1.1], "b": [2.0, 2.2]}
    assert [p.models for p in pairs(values, higher_is_better=False)] == [("a", "b")]
    assert [p.models for p in pairs(values, higher_is_better=True)] == [("b", "a")]


def test_untestable_pairs_are_never_apart_and_cost_no_correction() -> None:
    far = [11.0, 12, 13, 14, 15]
    values = {"a": [1.0, 1.01], "b": [5.0, 5.01], "c": [1.0, 2, 3, 4, 5], "d": far}
    found = {pair.models: pair for pair in pairs(values, higher_is_better=False)}
    assert not found["a", "b"].testable
    assert not found["a", "b"].apart
    # a and b against c and d have 21 permutations, too few; only c against d is corrected, by 1.
    assert found["c", "d"].adjusted == found["c", "d"].p
    assert found["c", "d"].apart


def apart(*names: tuple[str, str]) -> list[Pair]:
    return [Pair(pair, 1.0, 0.0, 0.0, testable=True) for pair in names]


def test_models_that_nothing_tells_apart_share_one_letter() -> None:
    assert groups("abc", []) == {"a": "a", "b": "a", "c": "a"}


def test_a_model_in_the_middle_shares_a_letter_with_both_sides() -> None:
    assert groups("xyz", apart(("x", "z"))) == {"x": "a", "y": "ab", "z": "b"}


def test_letters_are_shared_exactly_by_pairs_that_are_not_apart() -> None:
    names = "vwxyz"
    told = {("v", "x"), ("v", "y"), ("v", "z"), ("w", "z"), ("x", "z")}
    letters = groups(names, apart(*told))
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = bool(set(letters[one]) & set(letters[other]))
            assert shared == ((one, other) not in told)
    assert letters["v"].startswith("a")


def test_the_seeds_needed_are_those_of_a_simulated_study() -> None:
    one, other = [0.0, math.sqrt(2)], [1.0, 1 + math.sqrt(2)]  # deviation 1, difference 1
    n = seeds_needed(one, other, comparisons=1)
    assert n == 17  # two-sided t test, effect size 1, power 0.8: the textbook value
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, (2000, n)), rng.normal(1, 1, (2000, n))
    power = np.mean(stats.ttest_ind(*draws, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.05)


def test_more_comparisons_need_more_seeds_and_equal_means_cannot_be_told_apart() -> None:
    one, other = [0.0, 1.0], [1.0, 2.0]
    assert seeds_needed(one, other, 1) < seeds_needed(one, other, 66)
    assert seeds_needed(one, one, 1) is None
    assert seeds_needed([1.0, 1.0], [2.0, 2.0], 1) == 4
