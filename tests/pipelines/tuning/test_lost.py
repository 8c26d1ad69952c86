"""Trials that lose their worker: found, tried again from their checkpoint, given up in the end."""

import multiprocessing
import os
import signal
import time
from unittest import mock

import pytest
import sqlalchemy

from genmodels.training import checkpoint
from pipelines import tune
from pipelines.settings import paths
from pipelines.training import one_run
from pipelines.tuning import files, page, retrain, worker
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.trial import Bench, Run, Watcher
from tests.pipelines.tiny_study import URL, search


def _begin_and_hang(one, url, ready):
    storage = tune_storage.join(one, url)
    trial = storage.next_trial()
    trial.suggest_float("beta", 0.1, 10.0, log=True)
    ready.send(trial.number)
    time.sleep(600)


def test_a_killed_worker_leaves_nothing_running_and_its_point_is_tried_again(project):
    one = project()
    storage = tune_storage.create(one, URL())
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_begin_and_hang, args=(one, URL(), theirs)
    )
    process.start()
    number = ours.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]
    worker.work(one, URL(), "cpu", None, lambda message: None)
    trials = files.ended(storage)
    assert [t.state for t in trials] == ["lost", *["complete"] * 4]
    retried = next(t for t in trials[1:] if t.first == number)
    assert retried.point == trials[0].point == {"beta": 1.0}
    assert len({t.point["beta"] for t in trials[1:]}) == 4
    assert tune_storage.num_begun(storage.trials) == 4


def test_a_worker_killed_before_it_tells_the_end_that_it_wrote_down_is_lost_all_the_same(
    project, monkeypatch
):
    one = project(trials=3)
    storage = tune_storage.create(one, URL())
    with monkeypatch.context() as patch:
        patch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
        trial = storage.next_trial()
        trial.suggest_float("beta", 0.1, 10.0, log=True)
        trial.set_user_attr("reason", "pruned")
        storage.reap()
    assert tune_storage.num_begun(storage.trials) == 0
    search(one)
    trials = files.ended(storage)
    assert [(t.state, t.reason) for t in trials] == [("lost", None), *[("complete", None)] * 3]
    assert [t.first for t in trials] == [0, 0, 2, 3]


def test_a_point_whose_reaper_is_killed_before_it_queues_it_is_queued_by_the_next(
    project, monkeypatch
):
    one = project(trials=3)
    storage = tune_storage.create(one, URL())
    with monkeypatch.context() as patch:
        patch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
        storage.next_trial().suggest_float("beta", 0.1, 10.0, log=True)
        patch.setattr(tune_storage, "_retry", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            storage.reap()
    assert [t.state.name for t in storage.trials] == ["FAIL"]
    for _ in range(2):
        storage.reap()
        assert [t.state.name for t in storage.trials] == ["FAIL", "WAITING"]
    search(one)
    trials = files.ended(storage)
    assert [t.state for t in trials] == ["lost", *["complete"] * 3]
    assert trials[1].point == trials[0].point


def test_the_start_is_not_lost_with_a_worker_that_had_suggested_nothing(project):
    one = project(trials=1)
    storage = tune_storage.create(one, URL())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
        for _ in range(2):
            assert storage.next_trial() is not None
        storage.reap()
    search(one)
    *_, last = files.ended(storage)
    assert (last.state, last.point, last.is_start) == ("complete", {"beta": 1.0}, True)


def test_a_start_that_was_lost_before_it_suggested_anything_is_shown_by_its_retry(
    project, monkeypatch
):
    storage = tune_storage.create(project(trials=2), URL())
    with monkeypatch.context() as patch:
        patch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
        storage.next_trial()
        storage.reap()
    search(storage.study)
    monkeypatch.setattr(retrain, "verdict", lambda *_: {"trial": None, "apart": False})
    monkeypatch.setattr(tune.runs, "log", lambda storage, found: 0)
    assert "nothing beats the present settings" in tune.finish(storage, 1, retrained=True)
    found = page.load(paths.TUNE / "s")
    assert (found.winner.state, found.winner.point) == ("complete", {"beta": 1.0})


def _silence(storage, trial):
    """The last heartbeat was an hour ago."""
    storage.database.record_heartbeat(trial._trial_id)
    with storage.database.engine.begin() as connection:
        long_ago = sqlalchemy.text(
            "update trial_heartbeats set heartbeat = datetime('now', '-1 hour')"
        )
        connection.execute(long_ago)


def test_a_machine_that_slept_has_lost_no_trial(project):
    storage = tune_storage.create(project(), URL())
    trial = storage.next_trial()
    _silence(storage, trial)
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]


def test_another_host_that_is_silent_has_lost_its_trial_even_before_it_said_anything(project):
    storage = tune_storage.create(project(), URL())
    trial = storage.next_trial()
    with storage.database.engine.begin() as connection:
        beats = connection.execute(sqlalchemy.text("select count(*) from trial_heartbeats"))
        assert beats.scalar() == 1
    trial.set_user_attr("owner", {"host": "elsewhere", "pid": "1", "process_start": "1.0"})
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]
    _silence(storage, trial)
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["FAIL", "WAITING"]


def test_a_worker_whose_trial_was_taken_over_goes_on_with_another(project, monkeypatch):
    one = project(trials=3)
    other, said = tune_storage.create(one, URL()), []

    def send(message):
        said.append(message)
        if message == worker.Begun(1):  # while this machine sleeps, its trial is given away
            with monkeypatch.context() as patch:
                patch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
                other.reap()

    worker.work(one, URL(), "cpu", None, send)
    trials = files.ended(other)
    assert [t.state for t in trials] == ["complete", "lost", "complete", "complete"]
    assert [t.first for t in trials] == [0, 1, 1, 3]
    assert [m.reason for m in said if isinstance(m, worker.Ended) and m.number == 1] == [
        "was taken for lost and is tried again"
    ]


def test_a_point_that_loses_every_worker_is_given_up(project, monkeypatch):
    one = project(trials=1)
    storage = tune_storage.create(one, URL())
    monkeypatch.setattr(tune_storage.origin, "is_alive", lambda owner: False)
    for _ in range(tune_storage.MOST_ATTEMPTS):
        assert storage.next_trial() is not None
    assert storage.next_trial() is None
    states = [t.state for t in files.ended(storage)]
    assert states == ["lost"] * (tune_storage.MOST_ATTEMPTS - 1) + ["failed"]


def test_a_retry_goes_on_from_the_checkpoint(project, monkeypatch):
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    pruner = {"name": "median", "startup_trials": 9, "checks": 2}
    one = project(pruner=pruner)
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})

    class Notes(Watcher):
        def __init__(self, stop_at=None):
            self.seen, self.stop_at = {}, stop_at

        def report(self, value, step):
            if step == self.stop_at:
                raise KeyboardInterrupt
            self.seen[step] = value
            return False

    plain = Notes()
    whole = Run(bench, entry, 1, plain)(lambda message: None)
    with pytest.raises(KeyboardInterrupt):
        Run(bench, entry, 2, Notes(stop_at=4))(lambda message: None)
    assert checkpoint.load(one.checkpoint(2, entry))["step"] == 3
    again, said = Notes(), []
    resumed = Run(bench, entry, 2, again)(said.append)
    assert resumed.values == whole.values
    assert again.seen == plain.seen
    assert list(plain.seen) == [2, 4]


def test_a_retry_starts_anew_where_the_checkpoint_cannot_be_read(project):
    one = project()
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})
    expected = Run(bench, entry, 1, Watcher())(lambda message: None)
    one.checkpoint(2, entry).parent.mkdir(parents=True)
    one.checkpoint(2, entry).write_bytes(b"")
    assert Run(bench, entry, 2, Watcher())(lambda message: None).values == expected.values


def test_a_trial_does_not_go_on_from_another_one_of_its_number(project, monkeypatch):
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    one = project(pruner={"name": "median", "startup_trials": 9, "checks": 2})
    bench = Bench.load(one, "cpu")

    class Interrupts(Watcher):
        def report(self, value, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(bench, one.entry({"beta": 2.0}), 1, Interrupts())(lambda message: None)
    other = one.entry({"beta": 9.0})
    expected = Run(bench, other, 5, Watcher())(lambda message: None)
    assert Run(bench, other, 1, Watcher())(lambda message: None).values == expected.values
