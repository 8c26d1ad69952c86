"""Who is alive, as seen from a container that has the host's name."""

import json
import shutil
import subprocess
import sys

import pytest

from pipelines.tracking import origin

IN_ANOTHER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def _works() -> bool:
    return shutil.which("unshare") is not None and (
        subprocess.run([*IN_ANOTHER, "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not _works(), reason="no process namespace can be made here")
def test_a_process_of_another_namespace_is_not_taken_for_dead() -> None:
    question = (
        "import json, sys; from pipelines.tracking import origin; "
        "print([origin.is_alive(tags) for tags in json.loads(sys.argv[1])])"
    )
    plain = origin.process()
    told = [plain, plain | {"pid_namespace": origin.pid_namespace()}]
    assert [origin.is_alive(tags) for tags in told] == [True, True]
    command = [*IN_ANOTHER, sys.executable, "-c", question, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[False, True]"
