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
    """Why a store at this address raised the error, with the reason in brackets; and what helps.

    The second text is empty if only time helps.
    """
    # Before the text is cut: the rest of half an address does not show where the password ends.
    reason = hide_password(" ".join(str(error).split()))
    what, remedy = _cause(error, reason, uri)
    return f"{what} ({reason[:_MAX_REASON]})", remedy


def _cause(error: BaseException, reason: str, uri: str) -> tuple[str, str]:
    path = sqlite_path(uri)
    another = "set MLFLOW_TRACKING_URI to another store"
    another = another if path is None else f"move {path} to another folder"
    if revision := _REVISION.search(reason):
        if _is_older(revision[1] or revision[2]):
            command = escape.shell("mlflow", "db", "upgrade", hide_password(uri))
            return "an older MLflow wrote the store", f"copy the database, then run `{command}`"
        return "a newer MLflow wrote the store", f"install that MLflow, or {another}"
    no_database = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
    no_permission = isinstance(error, PermissionError) or "readonly database" in reason
    no_folder = path is not None and isinstance(error, FileNotFoundError)
    no_answer = is_remote(uri) or isinstance(error, TimeoutError)
    causes = [
        (isinstance(error, ImportError), "has no database driver", "install the driver"),
        (no_permission, "cannot be written", "correct the permissions"),
        (no_folder, "has no folder", "create the folder, or correct MLFLOW_TRACKING_URI"),
        (no_database, "is no SQLite database", another),
        (no_answer, "does not answer", ""),
        (True, "failed", ""),
    ]
    what, remedy = next((what, remedy) for holds, what, remedy in causes if holds)
    return f"the MLflow store {what}", remedy


def _is_older(revision: str) -> bool:
    """Whether this MLflow knows the schema of the store."""
    package = find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    migrations = Path(package.origin).parent / "store/db_migrations/versions"
    return any(migrations.glob(f"{revision}_*.py"))
