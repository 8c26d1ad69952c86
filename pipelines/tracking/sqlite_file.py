"""The SQLite file of the MLflow store: either complete or absent.

MLflow creates its tables in some sixty steps and commits each one. A process that is killed in
between leaves a file that MLflow cannot open. Therefore the file is created under a temporary name
and then renamed, and a file that was never completed is renamed before a new one is created.
"""

import contextlib
import itertools
import os
import sqlite3
from pathlib import Path
from typing import Any

#: Files that SQLite keeps beside a database. A journal would be played back into a new file.
_COMPANIONS = ("-journal", "-wal", "-shm")
#: How long a reader waits for the lock of a process that writes.
_BUSY_TIMEOUT_S = 60


def ensure(path: Path, artifacts: Path) -> str:
    """Creates the file where it is missing or useless; the caller holds the lock of the store.

    `artifacts` is the folder of MLflow's own experiment. Returns one sentence if a useless file was
    renamed, else an empty text.

    Raises:
        OSError, sqlite3.Error: The file is no SQLite database, or cannot be read or written.
    """
    message = ""
    if path.exists() and (fault := _fault(path)):
        new = _set_aside(path)
        message = f"{path.name} {fault}; it was renamed to {new.name}, and a new store was created"
    if not path.exists():
        _create(path, artifacts)
    return message


def _fault(path: Path) -> str:
    """Why a file holds no usable store; empty for a store and for a database of another program."""
    if path.stat().st_size == 0:
        return "is empty"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in connection.execute(query)}
            # Opening a complete store creates an experiment, so a store without one holds nothing.
            first = "SELECT 1 FROM experiments LIMIT 1"
            if "experiments" in tables and connection.execute(first).fetchone():
                return ""
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT:
            return "is damaged"
        raise
    from mlflow.store.db.base_sql_model import Base  # noqa: PLC0415
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401, PLC0415

    known = set(Base.metadata.tables)
    # A migration copies a table to a new one of this name and renames it.
    known |= {"alembic_version"} | {f"_alembic_tmp_{table}" for table in known}
    return "" if tables - known else "was never completed"


def _set_aside(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}.incomplete-{n}") for n in itertools.count(1))
    new = next(name for name in numbered if not name.exists())
    for companion in ("", *_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{companion}").rename(f"{new}{companion}")
    return new


def _create(path: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    # Only the holder of the lock creates, so these belong to processes that were killed.
    left_over = [Path(f"{path}{companion}") for companion in _COMPANIONS]
    for file in [*path.parent.glob(f"{path.name}.new-*"), *left_over]:
        file.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.new-{os.getpid()}")
    create: Any = SqlAlchemyStore
    create(f"sqlite:///{temporary}", str(artifacts)).engine.dispose()
    temporary.rename(path)
