"""The contract of every module that can be run: the stages and commands."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from pipelines import __main__ as script
from pipelines.settings.code_version import imports
from pipelines.settings.paths import ROOT
from tests.pipelines.tiny_model import write_params

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "pipelines").rglob("[a-z]*.py")
    if '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")
)
#: Arguments that a module needs before its options.
WITH_MODEL = [
    name
    for name in MODULES
    if name.rpartition(".")[2] in {"train", "evaluate", "sample", "reconstruct", "compare"}
]


#: Stages and commands that run another one, and which.
RUN_BY = {
    "pipelines.ui": {"pipelines.publish"},  # completes the store before it is shown
    "pipelines.reproduce": {"pipelines.prepare", "pipelines.features"},  # on other data
}


@pytest.fixture
def folder(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout and working directory, without params.yaml."""
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("COLUMNS", "100")
    return checkout


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Runs `python -m NAME ARGUMENT ...`; returns its exit code or its error line."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    return ended.value.code


def files(folder: Path) -> list[str]:
    return [str(Path(base, name)) for base, _, names in os.walk(folder) for name in names]


@pytest.mark.parametrize("name", MODULES)
def test_no_stage_or_command_imports_another_one(name):
    imported = set(imports(ROOT / Path(*name.split(".")).with_suffix(".py")))
    assert imported & set(MODULES) <= RUN_BY.get(name, set())


def test_what_can_be_run_is_what_genmodels_lists():
    assert {f"pipelines.{name}" for name in script.descriptions()} == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_help_needs_no_params_and_changes_no_file(folder, monkeypatch, capsys, name):
    assert run(name, monkeypatch, "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: genmodels {name.removeprefix('pipelines.')} ")
    assert err == ""
    assert "python -m pipelines." not in out
    assert files(folder) == []


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_option_is_a_usage_line_and_an_error_line_and_changes_no_file(
    folder, monkeypatch, capsys, name
):
    assert run(name, monkeypatch, "--no-such-option") == 2
    out, err = capsys.readouterr()
    usage, error = err.splitlines()
    assert usage.startswith(f"usage: genmodels {name.removeprefix('pipelines.')} ")
    assert error.startswith("error: ")
    assert out == ""
    assert files(folder) == []


@pytest.mark.parametrize("name", WITH_MODEL)
def test_a_missing_model_is_one_error_line(folder, monkeypatch, capsys, name):
    assert run(name, monkeypatch) == 2
    _, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert "MODEL" in error or "models are needed" in error


@pytest.mark.parametrize("name", WITH_MODEL)
def test_an_unknown_model_is_one_line_with_the_nearest_name(folder, monkeypatch, name):
    write_params()
    arguments = {"reconstruct": ["vea", "x.png"], "compare": ["vea", "vae"]}
    line = run(name, monkeypatch, *arguments.get(name.rpartition(".")[2], ["vea"]))
    assert "vea: no such model" in str(line)
    assert "did you mean 'vae'" in str(line)
    assert "\n" not in str(line)
