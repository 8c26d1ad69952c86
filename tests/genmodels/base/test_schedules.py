import pytest

from genmodels.base.schedules import cyclical, scheduled
from tests.conftest import presets, small_model


@pytest.mark.parametrize("form", ["linear", "cosine"])
def test_a_schedule_reaches_its_end_and_stays_there(form):
    values = [scheduled(form, step, 10, 2.0, 0.5) for step in range(15)]
    assert values[0] == 2.0
    assert values[10:] == [0.5] * 5
    assert values[:11] == sorted(values[:11], reverse=True)
    assert values[5] == pytest.approx(1.25)


def test_constant_and_empty_schedules():
    assert scheduled("constant", 7, 10, 2.0, 0.5) == 2.0
    assert scheduled("linear", 0, 0, 2.0, 0.5) == 0.5


def test_a_warm_up_rises_over_its_share_and_stays_at_one():
    assert [cyclical(s, 10, 0.4, 1) for s in range(12)] == pytest.approx(
        [0, 0.25, 0.5, 0.75] + [1] * 8
    )
    assert cyclical(0, 10, 0.0, 1) == 1


def test_a_cyclical_warm_up_restarts_in_each_cycle_and_ends_at_one():
    values = [cyclical(s, 20, 0.5, 2) for s in range(20)]
    assert values[:10] == values[10:] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8] + [1] * 5)
    assert cyclical(20, 20, 0.5, 2) == 1


def test_the_learning_rate_follows_its_stages():
    stages = [{"step": 3, "factor": 0.5}, {"step": 6, "factor": 0.1}]
    model = small_model(
        presets()["vae"], learning_rate_schedule=stages, learning_rate_end=1.0, num_steps=10
    )
    factors = [model.config.learning_rate_factor(step) for step in range(8)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.1, 0.1]
    assert all(type(beta) is float for beta in model.config.betas_at(0))
