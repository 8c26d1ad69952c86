"""Lists the stages that the next `dvc repro` runs, with the reason of each.

Runs the stage `resolve` first, because the other stages depend on its files. `dvc status` alone
compares with the files of the last `resolve`.
"""

import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipelines.reporting.differing import differing
from pipelines.settings import command_line, paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.yaml_files import read_yaml

#: Maximum number of changed settings in a reason.
MOST_SETTINGS = 4


def stages_to_run(repo: Repo) -> dict[str, str]:
    """The stages that `dvc repro` runs, in the order of the pipeline, with the reason of each.

    Includes the stages behind a stage that runs: they run if its outs change.
    """
    changes = repo.status(targets=[paths.DVC_YAML.name])
    lock = read_yaml(paths.DVC_LOCK)["stages"]
    graph = repo.index.graph
    ours = {s.addressing: s for s in graph if Path(s.path_in_repo) == Path(paths.DVC_YAML.name)}
    upstream = {n: [o.addressing for o in graph.successors(s)] for n, s in ours.items()}
    reasons: dict[str, str] = {}
    for name in graphlib.TopologicalSorter(upstream).static_order():
        if name in changes:
            reasons[name] = "; ".join(_reasons(repo, lock.get(name), changes[name]))
        elif running := [other for other in upstream[name] if other in reasons]:
            reasons[name] = f"if the outs of {', '.join(running)} change"
    return reasons


def _reasons(repo: Repo, locked: Mapping[str, Any] | None, changes: list[Any]) -> Iterator[str]:
    if locked is None:
        yield "it has not run yet"
        return
    hashes = {dep["path"]: dep["md5"] for dep in locked["deps"]}
    for change in changes:
        if isinstance(change, str):
            yield change
            continue
        for path, state in (pair for group in change.values() for pair in group.items()):
            is_settings = (paths.ROOT / path).is_relative_to(paths.RESOLVE)
            if is_settings and path in hashes and state == "modified":
                yield _difference(Path(repo.cache.local.oid_to_path(hashes[path])), path)
            else:
                yield f"{path} is {state}"


def _difference(before: Path, path: str) -> str:
    """The difference between the settings of the last run, in the cache, and the current ones."""
    if not before.is_file():
        return "its settings or its code changed"
    old, new = (json.loads(file.read_text()) for file in (before, paths.ROOT / path))
    if not isinstance(new, dict):
        return f"{Path(path).stem} {old} -> {new}"
    lines = [
        "its code changed" if key == "code" else f"{key} {' -> '.join(values)}"
        for key, values in differing([old, new])
    ]
    more = len(lines) - MOST_SETTINGS
    return ", ".join(lines[:MOST_SETTINGS]) + (f" and {more} more" if more > 0 else "")


@exit_on_user_error
def main() -> None:
    """Prints one line per stage."""
    command_line.parser("status", __doc__).parse_args()
    resolve = [sys.executable, "-m", "dvc", "repro", "--quiet", "resolve"]
    if subprocess.run(resolve, cwd=paths.ROOT, stdout=subprocess.PIPE, check=False).returncode:
        sys.exit(1)  # the stage has printed the reason
    try:
        with Repo(str(paths.ROOT)) as repo:
            reasons = stages_to_run(repo)
    except DvcException as error:
        raise UserError(str(error)) from None
    if not reasons:
        print("every stage is up to date")
        return
    width = max(map(len, reasons))
    for stage, reason in reasons.items():
        print(f"{stage:{width}}  {reason}")


if __name__ == "__main__":
    main()
