"""Reads YAML 1.2 as DVC does: `1e-4` is a number. Only this file reads YAML."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML  # noqa: TID251
from ruamel.yaml.error import YAMLError  # noqa: TID251

from pipelines.settings.errors import UserError


def read_yaml(path: Path) -> Any:
    """Reads a YAML file into plain values; a missing file or a mistake is a `UserError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path.name}: no such file in {path.parent}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: not UTF-8 at byte {error.start}") from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, file: str) -> Any:
    """Reads YAML into plain values; a mistake is a `UserError` with `file` and the line."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{file}{where}: {problem}") from None
