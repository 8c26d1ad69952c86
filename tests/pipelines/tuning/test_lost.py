"""Trials that lose their worker: retried from their checkpoint, and given up in the end."""

import functools
import multiprocessing
import os
import signal
import time

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError  # noqa: TID251
from optuna.storages import RDBStorage  # noqa: TID251

from genmodels.training import checkpoint
from pipelines.training import one_run
from pipelines.tuning import results, worker
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.trial import Bench, Run
from tests.pipelines.tiny_study import URL, ignore, search, work

OWNER = {"host": "elsewhere", "pid": 1, "command": "other", "worker": 0}


def _start_and_hang(one, url, ready):
    storage = tune_storage.open_study(one, url)
    trial = storage.start_trial(OWNER)
    trial.suggest_float("beta", 0.1, 10.0, log=True)
    ready.send(trial.number)
    time.sleep(600)


def _silence(storage):
    """The last heartbeats were an hour ago."""
    with storage.database.engine.begin() as connection:
        long_ago = "update trial_heartbeats set heartbeat = datetime('now', '-1 hour')"
        connection.execute(sqlalchemy.text(long_ago))


def test_a_heartbeat_outlives_a_connection_that_breaks_in_the_middle(project, monkeypatch):
    storage = tune_storage.open_study(project(), URL())
    trial = storage.start_trial(OWNER)
    record, failed = RDBStorage.record_heartbeat, []

    def broken_once(database, trial_id):
        if not failed:
            failed.append(trial_id)
            raise StorageInternalError("terminating connection")
        record(database, trial_id)

    monkeypatch.setattr(RDBStorage, "record_heartbeat", broken_once)
    storage.database.record_heartbeat(trial._trial_id)
    with storage.database.engine.connect() as connection:
        beats = sqlalchemy.text("select count(*) from trial_heartbeats")
        assert connection.execute(beats).scalar() == 1
    assert failed == [trial._trial_id]


def states(storage):
    return [trial.state.name for trial in storage.trials]


def test_a_killed_worker_leaves_nothing_running_and_its_point_is_tried_again(project):
    one = project()
    storage = tune_storage.open_study(one, URL())
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_start_and_hang, args=(one, URL(), theirs)
    )
    process.start()
    number = ours.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert states(storage) == ["RUNNING"]
    storage.release("other", 1)  # another worker of that command
    assert states(storage) == ["RUNNING"]
    storage.release("other", 0)
    assert states(storage) == ["FAIL", "WAITING"]
    work(one)
    trials = results.ended(storage)
    assert [t.state for t in trials] == ["lost", *["complete"] * 4]
    retried = next(t for t in trials[1:] if t.first == number)
    assert retried.point == trials[0].point == {"beta": 1.0}
    assert len({t.point["beta"] for t in trials[1:]}) == 4
    assert storage.num_missing == 0


def test_a_worker_killed_before_it_tells_the_end_that_it_wrote_down_is_lost_all_the_same(project):
    one = project(trials=3)
    storage = tune_storage.open_study(one, URL())
    trial = storage.start_trial(OWNER)
    trial.suggest_float("beta", 0.1, 10.0, log=True)
    trial.set_user_attr("outcome", {"reason": "pruned"})
    storage.release("other")
    assert storage.num_missing == 3
    search(one)
    trials = results.ended(storage)
    assert [(t.state, t.reason) for t in trials] == [("lost", None), *[("complete", None)] * 3]
    assert [t.first for t in trials] == [0, 0, 2, 3]


def test_the_start_is_not_lost_with_a_worker_that_had_suggested_nothing(project):
    one = project(trials=2)
    storage = tune_storage.open_study(one, URL())
    for _ in range(2):
        storage.start_trial(OWNER)
        storage.release("other")
    search(one)
    assert [t.state for t in results.ended(storage)] == ["lost", "lost", "complete", "complete"]
    assert storage.trials[2].params == {"beta": 1.0}


def test_a_trial_without_a_heartbeat_goes_back_into_the_queue(project):
    storage = tune_storage.open_study(project(), URL())
    trial = storage.start_trial(OWNER)
    storage.database.record_heartbeat(trial._trial_id)
    storage.fail_stale_trials()
    assert states(storage) == ["RUNNING"]
    _silence(storage)
    storage.fail_stale_trials()
    assert states(storage) == ["FAIL", "WAITING"]


def test_a_trial_whose_worker_was_killed_before_its_first_heartbeat_is_not_stuck(project):
    storage = tune_storage.open_study(project(), URL())
    storage.start_trial(OWNER)
    _silence(storage)
    storage.fail_stale_trials()
    assert states(storage) == ["RUNNING"]  # Optuna waits for ever
    storage.record_missing_heartbeats()
    _silence(storage)
    storage.fail_stale_trials()
    assert states(storage) == ["FAIL", "WAITING"]


def test_a_worker_whose_trial_was_taken_over_continues_with_another(project):
    one = project(trials=3)
    other, messages = tune_storage.open_study(one, URL()), []

    def send(message):
        messages.append(message)
        if message == worker.TrialStarted(1):  # as while this machine is suspended
            other.release("test")

    work(one, send)
    trials = results.ended(other)
    assert [t.state for t in trials] == ["complete", "lost", "complete", "complete"]
    assert [t.first for t in trials] == [0, 1, 1, 3]
    ends = [m for m in messages if isinstance(m, worker.TrialEnded)]
    assert [end.reason for end in ends if end.number == 1] == ["no heartbeat: is retried"]


def test_a_point_that_loses_every_worker_is_given_up(project):
    one = project(trials=1)
    storage = tune_storage.open_study(one, URL())
    for _ in range(tune_storage.MOST_RETRIES + 1):
        assert storage.start_trial(OWNER) is not None
        storage.release("other")
    assert storage.start_trial(OWNER) is None
    ended = [t.state for t in results.ended(storage)]
    assert ended == ["lost"] * tune_storage.MOST_RETRIES + ["failed"]


def test_a_retry_goes_on_from_the_checkpoint(project, monkeypatch):
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    pruner = {"name": "median", "startup_trials": 9, "checks": 2}
    one = project(pruner=pruner)
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})

    def report(reported, value, step, stop_at=None):
        if step == stop_at:
            raise KeyboardInterrupt
        reported[step] = value
        return False

    whole_reports, resumed_reports = {}, {}
    whole = Run(bench, entry, 1, functools.partial(report, whole_reports))(lambda message: None)
    with pytest.raises(KeyboardInterrupt):
        Run(bench, entry, 2, functools.partial(report, {}, stop_at=4))(lambda message: None)
    assert checkpoint.load(one.checkpoint(2, entry))["step"] == 3
    resumed = Run(bench, entry, 2, functools.partial(report, resumed_reports))(lambda message: None)
    assert resumed.values == whole.values
    assert resumed_reports == whole_reports
    assert list(whole_reports) == [2, 4]


def test_a_retry_starts_anew_where_the_checkpoint_cannot_be_read(project):
    one = project()
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})
    expected = Run(bench, entry, 1, ignore)(lambda message: None)
    one.checkpoint(2, entry).parent.mkdir(parents=True)
    one.checkpoint(2, entry).write_bytes(b"")
    assert Run(bench, entry, 2, ignore)(lambda message: None).values == expected.values


def test_a_trial_does_not_go_on_from_another_one_of_its_number(project, monkeypatch):
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    one = project(pruner={"name": "median", "startup_trials": 9, "checks": 2})
    bench = Bench.load(one, "cpu")

    def interrupt(value, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(bench, one.entry({"beta": 2.0}), 1, interrupt)(lambda message: None)
    other = one.entry({"beta": 9.0})
    expected = Run(bench, other, 5, ignore)(lambda message: None)
    assert Run(bench, other, 1, ignore)(lambda message: None).values == expected.values
