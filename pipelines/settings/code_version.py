"""The version of the code that a stage runs: a hash of what the code means, not of its text.

The code of a stage is the import closure of its module, imports inside functions included, plus the
kinds and metrics that are imported by name. The hash is over the syntax trees, without comments and
docstrings, so that a reformatted file is the same version.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.settings import files

#: Where the running code lies; a test that moves the checkout leaves it.
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "genmodels", "evaluation")
#: Modules that decide no result: they check settings, name files and runs, show progress or print
#: a plan. A change of them reruns nothing. A name covers what lies below it.
DECIDES_NOTHING = (
    "pipelines.settings.code_version",
    "pipelines.settings.command_line",
    "pipelines.settings.errors",
    "pipelines.settings.params",
    "pipelines.settings.paths",
    "pipelines.settings.presets",
    "pipelines.settings.refusals",
    "pipelines.settings.resolved",
    "pipelines.settings.resolving",
    "pipelines.settings.sections",
    "pipelines.settings.yaml_files",
    "pipelines.training.fingerprint",
    "pipelines.training.progress",
    "evaluation.plan",
)
#: Tracking decides nothing either, except in the stage that does nothing else.
TRACKING = "pipelines.tracking"
#: Files that a stage reads beside its code, by the module that reads them.
DATA_OF = {"pipelines.report": "pipelines/reporting/templates"}


def code_version(module: str, by_name: Iterable[str] = ()) -> str:
    """The version of the code that running a module can execute.

    Args:
        module: Such as `pipelines.train`.
        by_name: Modules that it imports by name, such as `genmodels.models.vae`.

    Returns:
        64 hexadecimal digits.
    """
    ignored = DECIDES_NOTHING if module == "pipelines.publish" else (*DECIDES_NOTHING, TRACKING)
    code = closure(module, *by_name, ignored=ignored)
    parts = [[name, _read(path).meaning] for name, path in sorted(code.items())]
    if module in DATA_OF:
        folder = ROOT / DATA_OF[module]
        parts += [[path.name, files.md5(path)] for path in sorted(folder.iterdir())]
    return _digest(parts)


def training_version(kind: str) -> str:
    """The version of the code that trains a kind."""
    return code_version("pipelines.train", [f"genmodels.models.{kind}"])


def closure(*modules: str, ignored: Sequence[str] = ()) -> dict[str, Path]:
    """By module of ours the file that importing `modules` can run.

    Args:
        modules: Names.
        ignored: Modules that are left out, with what only they import.
    """
    waiting, code = list(modules), dict[str, Path]()
    while waiting:
        name = waiting.pop()
        if name in code or _in(name, ignored) or (path := _file(name)) is None:
            continue
        code[name] = path
        waiting += _read(path).imports
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
        parts = name.split(".")
        waiting += [".".join(parts[:length]) for length in range(1, len(parts))]
    return code


def _in(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _file(module: str) -> Path | None:
    if not _in(module, PACKAGES):
        return None
    relative = ROOT.joinpath(*module.split("."))
    candidates = (relative.with_suffix(".py"), relative / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


class _Source(NamedTuple):
    """What a file imports, and a hash of its syntax tree."""

    imports: list[str]
    meaning: str


def _read(path: Path) -> _Source:
    return _parsed(path.read_bytes())


@functools.cache
def _parsed(source: bytes) -> _Source:
    tree = ast.parse(source)
    return _Source(list(_imports(tree)), _digest(_canonical(tree)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _canonical(node: Any) -> Any:
    """A syntax tree as nested lists, the same for every version of Python that can parse it."""
    if isinstance(node, ast.AST):
        fields = dict(ast.iter_fields(node))
        if _has_docstring(node):
            fields["body"] = fields["body"][1:]
        # Newer versions have more fields, which are empty in older code.
        return [
            type(node).__name__,
            *([key, _canonical(value)] for key, value in fields.items() if value not in (None, [])),
        ]
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    return repr(node)


def _has_docstring(node: ast.AST) -> bool:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest()
