"""Which code a training ran: a hash of the files that it imports.

Of what runs, not of how it is written: comments, docstrings and layout are left out, and so is a
file that the kind does not use.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from pipelines.settings import paths
from pipelines.training import fingerprint

PACKAGE = "genmodels"
#: What runs any kind.
LOOP = "genmodels.training.loop"


def code_version(kind: str) -> str:
    """The hash of all of genmodels that training a kind imports."""
    files = _closure(paths.ROOT, f"{PACKAGE}.models.{kind}", LOOP)
    return fingerprint.digest([[str(path), _bare(paths.ROOT / path)] for path in sorted(files)])


def _closure(root: Path, *modules: str) -> set[Path]:
    """Paths, from the root, of the files that importing the modules can run."""
    waiting, found = list(modules), set[Path]()
    while waiting:
        path = _path(root, waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += _imports(root / path)
            # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
            waiting += [".".join(parent.parts) for parent in path.parents if parent.parts]
    return found


def _path(root: Path, module: str) -> Path | None:
    if not module.startswith(PACKAGE):
        return None
    relative = Path(*module.split("."))
    candidates = (relative.with_suffix(".py"), relative / "__init__.py")
    return next((path for path in candidates if (root / path).is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _bare(path: Path) -> str:
    tree = _parsed(path)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
