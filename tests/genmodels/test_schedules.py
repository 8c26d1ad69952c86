import pytest

from genmodels.schedules import scheduled


@pytest.mark.parametrize("form", ["linear", "cosine"])
def test_schedules_hit_their_end_points_and_stay_there(form):
    assert scheduled(form, 0, 100, 2.0, 0.5) == 2.0
    assert scheduled(form, 50, 100, 2.0, 0.5) == pytest.approx(1.25)
    assert scheduled(form, 100, 100, 2.0, 0.5) == pytest.approx(0.5)
    assert scheduled(form, 1000, 100, 2.0, 0.5) == pytest.approx(0.5)


def test_a_schedule_of_no_steps_is_at_its_end():
    assert scheduled("linear", 0, 0, 0.0, 4.0) == 4.0


def test_constant_ignores_the_step():
    assert scheduled("constant", 77, 100, 2.0, 0.5) == 2.0
