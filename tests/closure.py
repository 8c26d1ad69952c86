"""The static import closure of a module, function-level imports included."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipelines", "genmodels", "evaluation")


def import_closure(*modules: str) -> set[str]:
    """Paths, from the root, of all files of ours that importing the modules can run."""
    waiting, found = list(modules), set()
    while waiting:
        path = _path(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        waiting += imports(path)
        # Importing a.b.c runs a/__init__.py and a/b/__init__.py first.
        waiting += [".".join(p.parts) for p in path.parents if p.parts]
    return {str(path) for path in found}


def _path(module: str) -> Path | None:
    if module.split(".")[0] not in PACKAGES:
        return None
    relative = Path(*module.split("."))
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if (ROOT / candidate).is_file():
            return candidate
    return None


def imports(path: Path) -> Iterator[str]:
    """What a file imports, inside its functions too; its path is that from the root."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
