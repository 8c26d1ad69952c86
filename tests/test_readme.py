"""README and docs: paths, targets and commands exist; the graph is the pipeline."""

import re

import pytest

from pipelines.__main__ import descriptions
from pipelines.settings.paths import ROOT
from tests.readme import README, drawn, graph

PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text() for page in PAGES}
#: Made by a run, so not in a fresh clone.
MADE = ("outputs/", "reports/", ".venv", "mlflow.db", "mlartifacts/", ".checkpoints/")


def paths() -> list[tuple[str, str]]:
    """By page the files and folders in backquotes, links and the tree."""
    names: dict[tuple[str, str], None] = {}
    for page, text in TEXTS.items():
        quoted = re.findall(r"`([\w./-]+(?:/|\.(?:py|yaml|md|toml|txt|png|csv|html|json)))`", text)
        linked = re.findall(r"\]\(([\w./-]+)\)", text)
        names |= dict.fromkeys((page, name) for name in [*quoted, *linked])
        if tree := re.search(r"```text\n(.*?)```", text, re.DOTALL):
            names |= dict.fromkeys((page, line.split()[0]) for line in tree[1].splitlines())
    assert len(names) > 40
    return list(names)


@pytest.mark.parametrize(("page", "path"), paths())
def test_every_path_exists(page: str, path: str) -> None:
    folder = ROOT / "docs" if path.startswith("../") else ROOT
    place = (folder / path).resolve()
    if f"{place.relative_to(ROOT)}/".startswith(MADE) or path in {"config.json", "MLmodel"}:
        return
    assert place.exists() or (ROOT / "docs" / path).exists(), f"{page}: {path}"


def test_the_readme_is_short() -> None:
    assert TEXTS["README.md"].count("\n") <= 250


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in TEXTS["README.md"]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", "\n".join(TEXTS.values()), re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets >= {"repro", "test", "ui", "status"}
    assert targets <= known


def test_every_command_exists() -> None:
    commands = set(
        re.findall(r"(?:`|^|')genmodels ([a-z]+)", "\n".join(TEXTS.values()), re.MULTILINE)
    )
    assert commands >= {"sample", "compare", "tune", "score"}
    assert commands <= set(descriptions())


def test_the_graph_in_the_readme_is_the_pipeline() -> None:
    assert drawn(TEXTS["README.md"], graph()) == TEXTS["README.md"], "run `make dag`"
