"""Writes files atomically: under a temporary name in the same folder, then renamed."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.settings.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Writes a text file as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file and creates its folder if that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON with a final newline; NaN and Infinity raise a ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, made_by: str) -> Any:
    """Reads JSON; `made_by` is the command that makes the file, for an error.

    Raises:
        UserError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); `{made_by}` makes it again") from None


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder, which replaces `path` if the block raises no exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{path.name}.*"):  # from a killed process
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def md5(path: Path) -> str:
    """The MD5 of the bytes of a file: the hash that DVC writes to dvc.lock."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def out_file(name: str, option: str) -> Path:
    """The path of an option's file, checked early; missing folders are created with the file.

    Raises:
        UserError: The path is a folder, or lies below a file.
    """
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{option}: {name}: a folder; name a file")
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{option}: {name}: {above} is a file, not a folder")
    return path
