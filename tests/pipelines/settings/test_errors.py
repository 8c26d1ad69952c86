"""Exit codes and messages of commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import paths

PRINTS = """
from pipelines.settings.errors import exit_on_user_error

@exit_on_user_error
def main():
    for line in range(100_000):
        print(line)

main()
"""


def test_a_closed_output_pipe_ends_the_command_without_a_traceback() -> None:
    command = [sys.executable, "-c", PRINTS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=paths.ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


INTERRUPTED = """
import os, signal, sys

class Interrupts:
    @staticmethod
    def find_spec(name, *_):
        if name == "pipelines.settings":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts)
"""


# With torch, with MLflow, with Optuna, with none of them: the handler is that of the package.
@pytest.mark.parametrize("command", ["train", "publish", "tune", "gate"])
def test_a_command_that_is_interrupted_while_it_imports_prints_nothing(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, "-m", f"pipelines.{command}", "--help"],
        cwd=paths.ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
