"""Studies of several machines and commands, on PostgreSQL and SQLite; the big one is a bench."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import sqlalchemy
from optuna.storages._heartbeat import get_heartbeat_thread  # noqa: TID251

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
from tests.clone import Clone, wait_for
from tests.postgres import cluster, why_not

on_postgresql = pytest.mark.skipif(bool(why_not()), reason=why_not())
TRIALS = 12


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return project(tmp_path_factory.mktemp("clone"), 60, TRIALS)


@pytest.fixture
def study(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The clone's study, in this process."""
    for name in ("PREPARE", "FEATURES", "TUNE_YAML", "OPTUNA_DB"):
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
        assert check(trials(url), TRIALS, 2)["FAIL"] >= 1
    assert (hosts[1].checkout / f"outputs/tune/{STUDY}/index.html").is_file()


def _create(study: Study, url: str, start: Event, out: "Queue[str]") -> None:
    start.wait()
    try:
        tune_storage.open_study(study, url).close()
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
        storage = tune_storage.open_study(study, url)
        assert storage.num_missing == TRIALS
        storage.close()


@pytest.mark.slow
@on_postgresql
def test_a_broken_connection_ends_neither_heartbeat_nor_search(study: Study) -> None:
    with cluster() as url:
        storage = tune_storage.open_study(study, url, grace=3)
        locks = sqlalchemy.text("select count(*) from pg_locks where locktype = 'advisory'")
        with storage.database.engine.connect() as connection:
            assert connection.execute(locks).scalar() == 0
        other = tune_storage.open_study(study, url, grace=3)
        trial = other.start_trial({"command": "c", "worker": 0})
        assert trial is not None
        with get_heartbeat_thread(trial._trial_id, other.database):
            server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
            with server.connect() as connection:
                connection.execute(
                    sqlalchemy.text(
                        "select pg_terminate_backend(pid) from pg_stat_activity "
                        "where pid <> pg_backend_pid() and datname = current_database()"
                    )
                )
                beat = sqlalchemy.text("select heartbeat from trial_heartbeats")
                before = connection.execute(beat).scalar()
                wait_for(lambda: connection.execute(beat).scalar() != before)
            server.dispose()
            storage.fail_stale_trials()  # over a connection that was broken, too
            assert [t["state"] for t in trials(url)] == ["RUNNING"]
        other.close()
        storage.close()


@pytest.mark.slow
def test_commands_may_begin_at_once_on_a_file_that_is_not_there(
    clone: Clone, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    on_a_new_file(clone, url, 4)
    check(trials(url), TRIALS, 4)


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
        assert "the same command continues the study" in said
        assert "Traceback" not in said


def is_created(url: str) -> bool:
    """Whether the study is in the storage; its workers are started next."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            return bool(
                connection.execute(sqlalchemy.text("select count(*) from studies")).scalar()
            )
    except sqlalchemy.exc.SQLAlchemyError:
        return False


@pytest.mark.slow
def test_a_command_that_is_interrupted_while_it_starts_says_so(
    clone: Clone, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    host = Host("here", clone.folder)
    host.start(url, "--workers", "2")
    while not is_created(url):
        assert host.is_running(), host.end()
        time.sleep(0.05)
    assert host.process is not None
    os.killpg(host.process.pid, signal.SIGINT)  # its workers are being imported
    assert host.process.wait(timeout=120) == 130
    said = (clone.folder / "log").read_text()
    assert "stopped; the same command continues it" in said
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
    assert "stopped; the same command continues it" in said
    assert "Traceback" not in said
    host.start(url, "--workers", "2")
    assert f"outputs/tune/{STUDY}/index.html" in host.end()
    check(trials(url), TRIALS, 4)
