import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest

from pipelines import __main__ as script
from pipelines.settings import paths, yaml_files
from pipelines.settings.paths import ROOT
from tests.clone import HANGING_S


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGING_S)


def test_the_list_has_the_stages_in_the_order_of_the_pipeline_and_then_the_commands():
    lines = script.descriptions()
    stages = list(yaml_files.read_yaml(paths.DVC_YAML)["stages"])
    assert list(script.STAGES) == stages
    assert list(lines)[: len(stages)] == stages
    assert list(lines)[len(stages) :] == sorted(list(lines)[len(stages) :])
    assert {"sample", "score", "tune"} <= set(lines)
    for name, line in lines.items():
        assert line, name
        assert len(f"  {name}  {line}") <= 100, name


def test_the_list_is_printed_without_torch():
    code = (
        "import sys; sys.argv = ['genmodels', '--help']; from pipelines.__main__ import main; "
        "main(); print([name for name in ('torch', 'pydantic', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *listed, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert "\n".join(listed) == script.listing(script.descriptions())


@pytest.mark.parametrize(
    ("name", "hint"), [("smaple", ", did you mean 'sample'?"), ("xyz", ""), ("__main__", "")]
)
def test_an_unknown_command_is_one_line_with_the_nearest_name(name, hint):
    done = run(name)
    line = f"error: {name}: no such command{hint}; `genmodels --help` lists them\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_command_gets_the_rest_of_the_line():
    done = run("sample", "vae", "--out", "grid.jpg")
    line = "error: --out grid.jpg: the name of the file has to end in .png\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_the_script_is_this_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"genmodels": "pipelines.__main__:main"}
    for point in entry_points(group="console_scripts", name="genmodels"):
        assert point.load() is script.main
