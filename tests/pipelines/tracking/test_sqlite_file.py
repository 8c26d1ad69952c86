"""The SQLite file of the store is complete or absent, whenever its creation is cut."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipelines import publish
from pipelines.settings import paths
from pipelines.tracking.store import open_store
from tests.pipelines.opened_store import client, runs

#: Ends the process with SIGKILL before the statement of this number, then opens the store.
KILLED = """
import os, signal, sys
import sqlalchemy
left = int(sys.argv[1])
def count(*_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", count)
"""
OPEN = "from pipelines.tracking.store import open_store; assert open_store().is_on"
#: As the store was created once: by MLflow, in its place.
IN_PLACE = """
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(f"sqlite:///{sys.argv[2]}", "artifacts")
"""
#: Statements that create a store with MLflow 3.17; more are about tables of other programs.
STATEMENTS = 300


def run(code: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DVC_ROOT": str(home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in connection.execute(query)}


@pytest.mark.slow
def test_a_creation_that_is_killed_at_any_moment_leaves_no_store_and_the_next_is_complete(
    tmp_path: Path, database: Path
) -> None:
    numbers = random.Random(0).sample(range(1, STATEMENTS), 2)
    for number in numbers:
        killed = run(KILLED + OPEN, tmp_path, str(number))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "mlflow.db").exists()
    done = run(OPEN, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert tables(tmp_path / "mlflow.db") == tables(database)
    assert {path.name for path in tmp_path.glob("mlflow.db*")} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [150, 250])
def test_a_half_migrated_store_is_set_aside_and_filled_from_the_files(
    number: int, reproduced: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.MLFLOW_DB.unlink()
    killed = run(KILLED + IN_PLACE, reproduced, str(number), str(paths.MLFLOW_DB))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert tables(paths.MLFLOW_DB) != tables(database)
    publish.publish()
    assert capsys.readouterr().err == (
        "warning: mlflow.db was never completed; it was renamed to mlflow.db.incomplete-1, and a "
        "new store was created; this command fills it from the files\n"
    )
    assert len(runs()) == 4
    assert tables(paths.MLFLOW_DB) == tables(database)
    open_store.cache_clear()
    publish.publish()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("size", "fault"), [(0, "is empty"), (9000, "is damaged")])
def test_a_store_that_was_cut_off_is_set_aside(
    size: int, fault: str, store_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.MLFLOW_DB.with_name("mlflow.db.incomplete-1").touch()
    paths.MLFLOW_DB.write_bytes(paths.MLFLOW_DB.read_bytes()[:size])
    assert open_store().is_on
    assert capsys.readouterr().err == (
        f"warning: mlflow.db {fault}; it was renamed to mlflow.db.incomplete-2, and a new store "
        "was created; `make publish` fills it from the files\n"
    )
    assert paths.MLFLOW_DB.with_name("mlflow.db.incomplete-2").stat().st_size == size
    assert runs() == []


def revision(path: Path, wanted: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [wanted])


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "451aebb31d03",
            r"an older MLflow wrote the store \(.*\); copy the database, then run "
            r"`mlflow db upgrade sqlite:///.*/mlflow.db`, then `make publish` completes it",
        ),
        (
            "f" * 12,
            r"a newer MLflow wrote the store \(.*\); install that MLflow, or move .*/mlflow.db to "
            r"another folder, then `make publish` completes it",
        ),
    ],
)
def test_a_store_of_another_schema_stays_where_it_is(
    version: str, message: str, store_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    revision(paths.MLFLOW_DB, version)
    before = paths.MLFLOW_DB.read_bytes()
    assert not open_store().is_on
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.fullmatch(f"warning: tracking is off, {message}\n", said)
    assert paths.MLFLOW_DB.read_bytes() == before
    assert not list(store_home.glob("mlflow.db.incomplete*"))


def test_a_database_of_another_program_is_not_moved(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, database: Path
) -> None:
    path = checkout / "optuna.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE studies (name)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    assert open_store().is_on
    assert "studies" in tables(path)
    assert not list(checkout.glob("optuna.db.incomplete*"))


def test_the_journal_of_a_lost_store_is_not_played_back(
    checkout: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = checkout / "mlflow.db-journal"
    with closing(sqlite3.connect(paths.MLFLOW_DB, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("BEGIN")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("UPDATE t SET x = 2")
        shutil.copy(journal, checkout / "kept")
    paths.MLFLOW_DB.unlink()
    shutil.copy(checkout / "kept", journal)
    assert open_store().is_on
    assert capsys.readouterr().err == ""
    assert tables(paths.MLFLOW_DB) == tables(database)


def test_two_files_of_one_folder_have_a_lock_each(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = store_home / "team.db"
    shutil.copy(paths.MLFLOW_DB, other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    assert open_store().is_on
    assert (store_home / "team.db.lock").exists()
    assert not (store_home / "mlflow.db.lock").exists()
    assert client().get_experiment_by_name("pipeline") is not None
