"""The version of the code that a stage runs: a hash of its syntax, not of its text.

The code of a stage is the import closure of its module (including imports inside functions) and the
kinds and metrics that are imported by name. The hash is computed from the syntax trees without
comments and docstrings, so reformatting a file does not change its version.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.settings import files

#: The folder of the running code. Tests that redirect `paths.ROOT` do not change it.
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "genmodels", "evaluation")
#: Modules that do not affect results: they check settings, name files and runs, show progress or
#: print a plan. A change of such a module reruns nothing. A name includes its submodules.
NO_EFFECT = (
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
#: Tracking affects the result of stage `publish` only.
TRACKING = "pipelines.tracking"
#: Folders that a stage reads in addition to its code, by module.
READ_FOLDERS = {"pipelines.report": "pipelines/reporting/templates"}


def code_version(module: str, by_name: Iterable[str] = ()) -> str:
    """The version of the code that a module such as `pipelines.train` can run: hexadecimal digits.

    `by_name` are modules that it imports by name, such as `genmodels.models.vae`.
    """
    ignored = NO_EFFECT if module == "pipelines.publish" else (*NO_EFFECT, TRACKING)
    code = closure(module, *by_name, ignored=ignored)
    parts = [[name, _parsed(path.read_bytes())[1]] for name, path in sorted(code.items())]
    if module in READ_FOLDERS:
        folder = ROOT / READ_FOLDERS[module]
        parts += [[path.name, files.md5(path)] for path in sorted(folder.iterdir())]
    return _digest(parts)


def training_version(kind: str) -> str:
    """The version of the code that trains a model of this kind."""
    return code_version("pipelines.train", [f"genmodels.models.{kind}"])


def closure(*modules: str, ignored: Sequence[str] = ()) -> dict[str, Path]:
    """The files of this project that importing `modules` can run, by module.

    Modules in `ignored` are left out, with the modules that only they import.
    """
    pending, code = list(modules), dict[str, Path]()
    while pending:
        name = pending.pop()
        if name in code or _in(name, ignored) or (path := _file(name)) is None:
            continue
        code[name] = path
        pending += imports(path)
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
        parts = name.split(".")
        pending += [".".join(parts[:length]) for length in range(1, len(parts))]
    return code


def _in(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _file(module: str) -> Path | None:
    if not _in(module, PACKAGES):
        return None
    relative = ROOT.joinpath(*module.split("."))
    candidates = (relative.with_suffix(".py"), relative / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def imports(path: Path) -> list[str]:
    """What a file imports, inside its functions too."""
    return _parsed(path.read_bytes())[0]


@functools.cache
def _parsed(source: bytes) -> tuple[list[str], str]:
    """The imports of a file and the hash of its syntax tree."""
    tree, imported = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return imported, _digest(_canonical(tree))


def _canonical(node: Any) -> Any:
    """A syntax tree as nested lists, equal for every version of Python that can parse it."""
    if isinstance(node, ast.AST):
        fields = dict(ast.iter_fields(node))
        if _has_docstring(node):
            fields["body"] = fields["body"][1:]
        # Newer versions of Python have additional fields, which are empty for older code.
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
