"""The address of the MLflow store, and why the store cannot be used: one sentence per cause."""

import os
import re
import sqlite3
from pathlib import Path

from pipelines.settings import escape, paths

#: As `MLFLOW_TRACKING_URI`: nothing is tracked, and MLflow is not even imported.
OFF = "off"
#: How MLflow and Alembic name the schema of a database that this MLflow cannot open.
_REVISION = re.compile(r"found version (\w+), but expected|revision identified by '(\w+)'")
_MAX_REASON, _PROBE_TIMEOUT_S = 160, 5


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else `default_uri`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def default_uri() -> str:
    """The SQLite file of this checkout."""
    return f"sqlite:///{paths.MLFLOW_DB.absolute()}"


def is_remote(uri: str) -> bool:
    """Whether a server answers at this address, which then keeps the artifacts as well."""
    return uri != OFF and not uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite address; None for a server or a database in memory."""
    scheme, _, name = uri.partition(":///")
    if not scheme.startswith("sqlite") or not name or name.startswith((":", "file:")):
        return None
    return Path(name.partition("?")[0])


def hide_password(text: str) -> str:
    """Text with the user, password and token of each address in it replaced by `***`."""
    # To the last @: a password that was not percent-encoded may contain one, and a slash.
    text = re.sub(r"//\S*@", "//***@", text)
    return re.sub(r"([?&](?:password|user|token)=)[^&\s)'\"]*", r"\1***", text)


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
    if found := _REVISION.search(reason):
        import mlflow  # noqa: PLC0415

        migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
        if any(migrations.glob(f"{found[1] or found[2]}_*.py")):
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
