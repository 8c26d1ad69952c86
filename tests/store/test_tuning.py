"""Studies of several machines and commands, on PostgreSQL and SQLite; the big one is a bench."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import sqlalchemy

from pipelines.settings import params, paths
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning.study import Study
from tests.bench.tuning_cluster import (
    STUDY,
    Host,
    check,
    hosts_of,
    num_ended,
    on_a_new_file,
    project,
    trials,
    under_fire,
    why_no_hosts,
)
from tests.clone import Clone
from tests.postgres import cluster, why_not

on_postgresql = pytest.mark.skipif(bool(why_not()), reason=why_not())
TRIALS = 12


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return project(tmp_path_factory.mktemp("clone"), 60, TRIALS)


@pytest.fixture
def study(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The clone's study, in this process."""
    for name in ("PREPARE", "FEATURES", "OPTUNA_DB"):
        place = clone.folder / getattr(paths, name).relative_to(paths.ROOT)
        monkeypatch.setattr(paths, name, place)
    return tune_study.load(STUDY, params.load(clone.folder / "params.yaml"))


@pytest.mark.slow
@on_postgresql
@pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())
def test_every_point_ends_once_though_a_worker_and_a_host_are_killed(
    clone: Clone, tmp_path: Path
) -> None:
    with cluster() as url:
        hosts = hosts_of(clone, tmp_path, "anna", "berta")
        for host, core in zip(hosts, sorted(os.sched_getaffinity(0)), strict=False):
            host.cores = {core}  # and so one worker each
        under_fire(hosts, url, TRIALS, 2, random.Random(0))
        assert check(trials(url), TRIALS)["FAIL"] >= 1
    assert (hosts[1].checkout / f"outputs/tune/{STUDY}/index.html").is_file()


def _create(study: Study, url: str, start: Event, out: "Queue[str]") -> None:
    start.wait()
    try:
        tune_storage.create(study, url).close()
        out.put("")
    except BaseException as error:  # whatever it is, the test shows it
        out.put(repr(error))


@pytest.mark.slow
@on_postgresql
def test_hosts_may_begin_at_once_on_an_empty_database(study: Study) -> None:
    context = multiprocessing.get_context("fork")
    start, out = context.Event(), context.Queue()
    with cluster() as url:
        processes = [
            context.Process(target=_create, args=(study, url, start, out)) for _ in range(4)
        ]
        for process in processes:
            process.start()
        start.set()
        assert [out.get(timeout=60) for _ in processes] == [""] * 4
        for process in processes:
            process.join()
        assert len(trials(url)) == 1


@pytest.mark.slow
@on_postgresql
def test_a_broken_connection_ends_neither_heartbeat_nor_turn(study: Study) -> None:
    with cluster() as url:
        storage = tune_storage.create(study, url, grace=3)
        with pytest.raises(KeyboardInterrupt), tune_storage._turn(storage.database.engine):
            raise KeyboardInterrupt
        locks = sqlalchemy.text("select count(*) from pg_locks where locktype = 'advisory'")
        with storage.database.engine.connect() as connection:
            assert connection.execute(locks).scalar() == 0
        other = tune_storage.join(study, url, grace=3)
        trial = other.next_trial()  # the turn is free
        assert trial is not None
        with other.heartbeat(trial):
            server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
            with server.connect() as connection:
                connection.execute(
                    sqlalchemy.text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where pid <> pg_backend_pid() and datname = current_database()"
                    )
                )
                time.sleep(5)
            server.dispose()
            storage.reap()  # over a connection that was broken, too
            assert [t["state"] for t in trials(url)] == ["RUNNING"]
        other.close()
        storage.close()


def _hold_a_turn(study: Study, url: str, ready: Connection) -> None:
    with tune_storage._turn(tune_storage.join(study, url).database.engine):
        ready.send(None)
        time.sleep(600)


def _take_a_turn(study: Study, url: str, done: Connection) -> None:
    tune_storage.join(study, url).reap()
    done.send(None)


@pytest.mark.slow
@on_postgresql
def test_a_machine_that_vanishes_in_its_turn_does_not_keep_it(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_storage, "TURN_TIMEOUT", 2)
    context = multiprocessing.get_context("fork")
    with cluster() as url:
        tune_storage.create(study, url).close()
        ours, theirs = context.Pipe()
        holder = context.Process(target=_hold_a_turn, args=(study, url, theirs))
        other = context.Process(target=_take_a_turn, args=(study, url, theirs))
        holder.start()
        ours.recv()
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)  # its connection stays open, and nothing is said
        other.start()
        try:
            assert ours.poll(30)
        finally:
            for process in (holder, other):
                process.kill()
                process.join()


@pytest.mark.slow
def test_commands_may_begin_at_once_on_a_file_that_is_not_there(
    clone: Clone, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    on_a_new_file(clone, url, 4)
    check(trials(url), TRIALS)


@pytest.mark.slow
@on_postgresql
def test_a_database_that_is_lost_in_the_middle_is_one_line(clone: Clone) -> None:
    with cluster() as url:
        host = Host("here", clone.folder)
        host.start(url, "--workers", "1")
        while num_ended(url) < 2:
            assert host.is_running(), host.end()
            time.sleep(0.1)
        server = sqlalchemy.create_engine(
            url.replace("/mlflow?", "/postgres?"), isolation_level="AUTOCOMMIT"
        )
        with server.connect() as connection:
            connection.execute(sqlalchemy.text("drop database mlflow with (force)"))
        server.dispose()
        assert host.process is not None
        assert host.process.wait(timeout=120) == 1
        said = (clone.folder / "log").read_text()
        assert "the same command goes on with the study" in said
        assert "Traceback" not in said


def is_begun(url: str) -> bool:
    """Whether the study's first trial is queued."""
    try:
        return bool(trials(url))
    except sqlalchemy.exc.SQLAlchemyError:
        return False


@pytest.mark.slow
def test_a_command_that_is_interrupted_while_it_starts_says_so(
    clone: Clone, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    host = Host("here", clone.folder)
    host.start(url, "--workers", "2")
    while not is_begun(url):
        assert host.is_running(), host.end()
        time.sleep(0.05)
    assert host.process is not None
    os.killpg(host.process.pid, signal.SIGINT)  # its workers are being imported
    assert host.process.wait(timeout=120) == 130
    said = (clone.folder / "log").read_text()
    assert "stopped; the same command goes on with it" in said
    assert "Traceback" not in said
    assert "RUNNING" not in [trial["state"] for trial in trials(url)]


@pytest.mark.slow
def test_an_interrupted_command_leaves_nothing_running_and_goes_on(
    clone: Clone, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    host = Host("here", clone.folder)
    host.start(url, "--workers", "2")
    assert host.process is not None
    while num_ended(url) < 3:
        assert host.is_running(), host.end()
        time.sleep(0.1)
    os.killpg(host.process.pid, signal.SIGINT)
    assert host.process.wait(timeout=120) == 130
    states = [trial["state"] for trial in trials(url)]
    assert "RUNNING" not in states
    assert states.count("COMPLETE") >= 3
    said = (clone.folder / "log").read_text()
    assert "stopped; the same command goes on with it" in said
    assert "Traceback" not in said
    host.start(url, "--workers", "2")
    assert f"outputs/tune/{STUDY}/index.html" in host.end()
    check(trials(url), TRIALS)
