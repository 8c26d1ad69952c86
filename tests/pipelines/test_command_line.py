"""The contract of every module that can be run: stages, commands, and those in the wings."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from tests.closure import ROOT
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


def program(name: str) -> str:
    short = name.removeprefix("pipelines.")
    return f"python -m {name}" if "." in short else f"genmodels {short}"


def test_all_that_can_be_run_is_here():
    assert {"pipelines.prepare", "pipelines.tune", "pipelines.tracking.store"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_help_needs_no_params_and_changes_no_file(folder, monkeypatch, capsys, name):
    assert run(name, monkeypatch, "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {program(name)} ")
    assert err == ""
    assert "python -m pipelines.prepare" not in out
    assert files(folder) == []


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_option_is_a_usage_line_and_an_error_line_and_changes_no_file(
    folder, monkeypatch, capsys, name
):
    assert run(name, monkeypatch, "--no-such-option") == 2
    out, err = capsys.readouterr()
    usage, error = err.splitlines()
    assert usage.startswith(f"usage: {program(name)} ")
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
