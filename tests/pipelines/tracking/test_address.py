"""Each cause of a store that cannot be used has a sentence and an advice of its own."""

import sqlite3
from pathlib import Path

import pytest

from pipelines.tracking.address import explain

SERVER = "http://127.0.0.1:5000"


def not_a_database(path: Path) -> sqlite3.Error:
    path.write_text("text, and long enough for a header of SQLite" * 9)
    with pytest.raises(sqlite3.DatabaseError) as error:
        sqlite3.connect(path).execute("SELECT * FROM sqlite_master")
    return error.value


def test_every_cause_of_a_file_is_told_from_the_others(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    causes = {
        "the MLflow store has no folder": FileNotFoundError("no such folder"),
        "the MLflow store cannot be written": PermissionError("denied"),
        "the MLflow store has no database driver": ModuleNotFoundError("No module named 'MySQLdb'"),
        "the MLflow store is no SQLite database": not_a_database(path),
        "an older MLflow wrote the store": ValueError("(found version 451aebb31d03, but expected"),
        "a newer MLflow wrote the store": ValueError("Can't locate revision identified by '12ab'"),
        "the MLflow store failed": ValueError("something else"),
    }
    advice = set()
    for what, error in causes.items():
        said, remedy = explain(error, uri)
        assert said.startswith(f"{what} (")
        advice.add(remedy)
    assert len(advice) == len(causes)
    assert f"mlflow db upgrade {uri}" in " ".join(advice)


def test_a_server_does_not_answer_whatever_the_error_is() -> None:
    for error in (ConnectionError("refused"), TimeoutError("late"), ValueError("500")):
        assert explain(error, SERVER) == (f"the MLflow store does not answer ({error})", "")


def test_the_command_of_the_advice_survives_a_shell_and_shows_no_password() -> None:
    error = ValueError("found version 451aebb31d03, but expected x")
    assert "'sqlite:////a b/mlflow.db'" in explain(error, "sqlite:////a b/mlflow.db")[1]
    assert "secret" not in explain(error, "postgresql://me:secret@host/x")[1]
