"""Which stages the next `dvc repro` runs, and why.

Runs the stage `resolve` first (about three seconds), because the other stages depend on what it
writes. `dvc status` alone compares with the files that `resolve` wrote last time.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipelines.settings import command_line, paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.yaml_files import read_yaml

#: Longer lists of changed settings are cut.
MOST_SETTINGS = 4


def stages_to_run(repo: Repo) -> dict[str, str]:
    """By stage the reason why `dvc repro` runs it, in the order of the pipeline.

    A stage behind one that runs is listed, too: it runs if the outs of that stage change.
    """
    reasons = {
        name: "; ".join(_reasons(repo, name, changes))
        for name, changes in repo.status(targets=[paths.DVC_YAML.name]).items()
    }
    order = [stage.addressing for stage in reversed(list(_sorted(repo)))]
    upstream = {
        stage.addressing: [other.addressing for other in repo.index.graph.successors(stage)]
        for stage in repo.index.graph
    }
    for name in order:
        running = [other for other in upstream[name] if other in reasons]
        if name not in reasons and running:
            reasons[name] = f"if the outs of {', '.join(sorted(running))} change"
    return {name: reasons[name] for name in order if name in reasons}


def _sorted(repo: Repo) -> Iterator[Any]:
    """Every stage of the pipeline, a stage before those it depends on."""
    import networkx  # noqa: PLC0415  (DVC's graphs)

    ours = [s for s in repo.index.graph if Path(s.path_in_repo).name == s.path_in_repo]
    yield from networkx.lexicographical_topological_sort(
        repo.index.graph.subgraph(ours), key=lambda stage: stage.addressing
    )


def _reasons(repo: Repo, stage: str, changes: list[Any]) -> Iterator[str]:
    for change in changes:
        if isinstance(change, str):
            yield change
            continue
        for paths_ in change.values():
            for path, state in paths_.items():
                is_settings = path.startswith("outputs/resolve/") and state == "modified"
                yield _difference(repo, stage, path) if is_settings else f"{path} is {state}"


def _difference(repo: Repo, stage: str, path: str) -> str:
    """What differs between the settings that a stage ran with and those of now."""
    deps = read_yaml(paths.DVC_LOCK)["stages"][stage]["deps"]
    md5 = next((dep["md5"] for dep in deps if dep["path"] == path), "")
    before = Path(repo.cache.local.oid_to_path(md5)) if md5 else paths.ROOT / "none"
    if not before.is_file():
        return "its settings or its code changed"
    old, new = (_flat(json.loads(file.read_text())) for file in (before, paths.ROOT / path))
    lines = [
        f"{key} {old.get(key)} -> {new.get(key)}" if key != "code" else "its code changed"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]
    more = len(lines) - MOST_SETTINGS
    return ", ".join(lines[:MOST_SETTINGS]) + (f" and {more} more" if more > 0 else "")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix or "value": value}
    parts = (_flat(part, f"{prefix}.{key}" if prefix else key) for key, part in value.items())
    return {key: leaf for part in parts for key, leaf in part.items()}


@exit_on_user_error
def main() -> None:
    """Prints one line a stage."""
    command_line.parser("status", __doc__).parse_args()
    try:
        with Repo(str(paths.ROOT)) as repo:
            repo.reproduce("resolve")
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
