"""Why the MLflow store cannot be used, and what helps: one sentence per cause."""

import re
import sqlite3
from importlib.util import find_spec
from pathlib import Path

from pipelines.settings import escape
from pipelines.tracking.address import hide_password, is_remote, sqlite_path

#: How MLflow and Alembic name the schema of a database that this MLflow cannot open.
_REVISION = re.compile(r"found version (\w+), but expected|revision identified by '(\w+)'")
_MAX_REASON, _PROBE_TIMEOUT_S = 160, 5


def probe(uri: str) -> None:
    """Fails at once if there is no connection; MLflow would retry for minutes."""
    import requests  # noqa: PLC0415
    import sqlalchemy  # noqa: PLC0415

    if uri.startswith("http"):
        requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S)
    elif not is_remote(uri):
        engine = sqlalchemy.create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def explain(error: BaseException, uri: str) -> tuple[str, str]:
    """What is wrong, and what helps.

    Args:
        error: What the store raised.
        uri: Its address.

    Returns:
        What is wrong, with the reason in brackets. What helps; empty if only time does.
    """
    # Before the text is cut: the rest of half an address does not show where the password ends.
    reason = hide_password(" ".join(str(error).split()))
    what, remedy = _cause(error, reason, uri)
    return f"{what} ({reason[:_MAX_REASON]})", remedy


def _cause(error: BaseException, reason: str, uri: str) -> tuple[str, str]:
    revision = _REVISION.search(reason)
    if revision is not None:
        return _other_schema(revision[1] or revision[2], uri)
    is_file = sqlite_path(uri) is not None
    no_database = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
    no_permission = isinstance(error, PermissionError) or "readonly database" in reason
    no_folder = is_file and isinstance(error, FileNotFoundError)
    no_answer = is_remote(uri) or isinstance(error, TimeoutError)
    causes = [
        (isinstance(error, ImportError), "has no database driver", "install the driver"),
        (no_permission, "cannot be written", "correct the permissions"),
        (no_folder, "has no folder", "create the folder, or correct MLFLOW_TRACKING_URI"),
        (no_database, "is no SQLite database", _other_store(uri)),
        (no_answer, "does not answer", ""),
        (True, "failed", ""),
    ]
    what, remedy = next((what, remedy) for holds, what, remedy in causes if holds)
    return f"the MLflow store {what}", remedy


def _other_schema(revision: str, uri: str) -> tuple[str, str]:
    package = find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    migrations = Path(package.origin).parent / "store/db_migrations/versions"
    if any(migrations.glob(f"{revision}_*.py")):
        command = escape.shell("mlflow", "db", "upgrade", hide_password(uri))
        return "an older MLflow wrote the store", f"copy the database, then run `{command}`"
    return "a newer MLflow wrote the store", f"install that MLflow, or {_other_store(uri)}"


def _other_store(uri: str) -> str:
    path = sqlite_path(uri)
    if path is None:
        return "set MLFLOW_TRACKING_URI to another store"
    return f"move {path} to another folder"
