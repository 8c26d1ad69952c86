import re

import pytest

from tests.closure import ROOT
from tests.readme import README, drawn, graph

TEXT = README.read_text()

#: Made by a run, so not in a fresh clone.
MADE = ("outputs/", "reports/", ".venv", "mlflow.db", "mlartifacts/", ".checkpoints/")


def paths() -> list[str]:
    """What the README calls a file or folder, in backquotes, links and the tree."""
    quoted = re.findall(r"`([\w./-]+(?:/|\.(?:py|yaml|md|toml|txt|png|csv|html|json)))`", TEXT)
    linked = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    tree = re.search(r"```text\n(.*?)```", TEXT, re.DOTALL)
    lines, folder = [], ""
    for line in tree[1].splitlines():
        name = line.strip().split("  ")[0]
        folder = "" if not line.startswith(" ") else folder
        lines.append(folder + name)
        folder = name if name.endswith("/") and not line.startswith(" ") else folder
    assert len(quoted) > 5
    assert len(lines) > 15
    return sorted({*quoted, *linked, *lines})


@pytest.mark.parametrize("path", paths())
def test_every_path_in_the_readme_exists(path):
    if path.startswith(MADE) and not (ROOT / path).exists():
        return
    assert (ROOT / path).exists(), path


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"`?make ([a-z-]+)", TEXT))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= {"repro", "test", "ui"}
    assert targets <= known


def test_the_graph_in_the_readme_is_the_pipeline():
    assert drawn(TEXT, graph()) == TEXT, "run `make dag`"
