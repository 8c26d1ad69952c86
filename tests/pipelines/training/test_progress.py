import io
import sys

import pytest

from pipelines.training.progress import Progress


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


def trained(clock, seeds=3):
    return Progress("train", {f"seed {seed}": 100 for seed in range(seeds)}, clock=clock)


def test_the_time_left_is_that_of_all_seeds_two_at_once(clock):
    with trained(clock) as progress:
        assert progress.seconds_left() is None
        progress.update("seed 0", 0)
        progress.update("seed 1", 0)
        clock.now = 10.0
        progress.update("seed 0", 50)
        progress.update("seed 1", 50)
        # 10 s for the halves that run, then the third seed alone: 20 s.
        assert progress.seconds_left() == pytest.approx(30)
        clock.now = 20.0
        progress.finish("seed 0")
        progress.finish("seed 1")
        assert progress.seconds_left() == pytest.approx(20)
        progress.update("seed 2", 0)
        clock.now = 40.0
        progress.finish("seed 2")
        assert progress.seconds_left() == 0


def test_what_a_checkpoint_had_does_not_count_for_the_speed(clock):
    with trained(clock, 1) as progress:
        progress.update("seed 0", 60)
        assert progress.seconds_left() is None
        clock.now = 10.0
        progress.update("seed 0", 80)
        assert progress.seconds_left() == pytest.approx(10)


def test_without_a_terminal_there_is_a_line_now_and_then_and_one_a_finished_part(clock, capsys):
    with trained(clock, 2) as progress:
        for second in range(31):
            clock.now = float(second)
            progress.update("seed 0", second, loss=101.23)
        progress.finish("seed 0")
        progress.finish("seed 1", "loss 99")
    assert capsys.readouterr().err.splitlines() == [
        "train: 8 %, 03:05 left; seed 0 loss 101.2",
        "train: 15 %, 02:50 left; seed 0 loss 101.2",
        "train: seed 0 done (1 of 2)",
        "train: seed 1 done (2 of 2): loss 99",
    ]


def test_a_terminal_shows_one_bar_with_the_work_of_all_parts(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with trained(clock, 2) as progress:
        progress.update("seed 0", 0)
        clock.now = 10.0
        progress.bar.mininterval = 0
        progress.update("seed 0", 50, loss=101.23)
        progress.finish("seed 1")
        shown = str(progress.bar)
    assert shown.startswith("train:  75%|")
    assert "150/200 steps" in shown
    assert "00:10 left; seed 0 loss 101.2" in shown
    assert "done (" not in sys.stderr.getvalue()


def test_parts_of_other_kinds_have_their_own_names_and_sizes(clock, capsys):
    amounts = {"the classifier": 40, "the replica": 10}
    with Progress("features", amounts, "epoch", clock=clock) as progress:
        progress.update("the classifier", 0)
        clock.now = 20.0
        progress.update("the classifier", 20)
        assert progress.seconds_left() == pytest.approx(30)
        progress.finish("the classifier")
    assert "features: the classifier done (1 of 2)" in capsys.readouterr().err
