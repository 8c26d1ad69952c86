"""How commands end."""

import subprocess
import sys

from pipelines.settings import paths

TALKS = """
from pipelines.settings.errors import exit_on_user_error

@exit_on_user_error
def main():
    for line in range(100_000):
        print(line)

main()
"""


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-c", TALKS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=paths.ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
