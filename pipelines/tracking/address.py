"""The address of the MLflow store: `MLFLOW_TRACKING_URI`, else an SQLite file of this checkout."""

import os
import re
from pathlib import Path

from pipelines.settings import paths

#: As `MLFLOW_TRACKING_URI`: nothing is tracked, and MLflow is not even imported.
OFF = "off"


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
