import pytest
from scipy import stats

from evaluation.measuring.shares import coin_p_value, wilson


@pytest.mark.parametrize(("correct", "count"), [(0, 7), (3, 10), (500, 1000), (40, 40)])
def test_the_interval_is_that_of_scipy(correct: int, count: int) -> None:
    found = wilson(correct / count, count)
    peer = stats.binomtest(correct, count).proportion_ci(0.95, "wilson")
    assert (found["low"], found["high"]) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert 0 <= found["low"] <= correct / count <= found["high"] <= 1


def test_fewer_trials_make_a_wider_interval() -> None:
    wide, narrow = wilson(0.6, 12.5), wilson(0.6, 50)
    assert wide["low"] < narrow["low"] < 0.6 < narrow["high"] < wide["high"]


def test_a_coin_is_right_about_three_of_three_once_in_eight() -> None:
    assert coin_p_value(3, 3) == pytest.approx(1 / 8, rel=1e-12)
    assert coin_p_value(0, 3) == 1
    assert coin_p_value(2, 3) == pytest.approx(0.5, rel=1e-12)
