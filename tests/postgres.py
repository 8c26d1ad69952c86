"""A temporary PostgreSQL cluster on a Unix socket, with Debian's programs."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

USER = "postgres"
#: A server that takes longer to start or stop does not work; a busy machine is slow.
PATIENCE_S = "900"


def programs() -> Path | None:
    """The folder with the programs of the newest server; None if no server is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


def why_not() -> str:
    """The reason why no cluster can start here; empty if it can."""
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if find_spec("psycopg") is None:
        return "psycopg is not installed (pip install 'genmodels[postgresql]')"
    return ""


@contextmanager
def cluster() -> Iterator[str]:
    """A running server inside the block; yields the address of its empty database `mlflow`."""
    folder = programs()
    assert folder is not None
    # Outside pytest's folder, which other users cannot enter, and short, like the path of a socket.
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    # PostgreSQL refuses to run as root.
    root = os.getuid() == 0
    user = pwd.getpwnam(USER).pw_uid if root else os.getuid()
    if root:
        os.chown(home, user, pwd.getpwnam(USER).pw_gid)
    owner = USER if root else pwd.getpwuid(user).pw_name

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), *arguments]
        subprocess.run(
            command, check=True, user=user, cwd=home, env={"LC_ALL": "C.UTF-8"}, stdout=log
        )

    data = str(home / "data")
    with (home / "log").open("w") as log:
        run("initdb", "-D", data, "-A", "trust", "-U", owner, "--no-instructions")
        options = f"-c listen_addresses= -c unix_socket_directories={home}"
        wait = ("-w", "-t", PATIENCE_S)
        run("pg_ctl", "-D", data, "-l", str(home / "data/log"), *wait, "-o", options, "start")
        try:
            run("createdb", "-h", str(home), "-U", owner, "mlflow")
            yield f"postgresql+psycopg://{owner}@/mlflow?host={home}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", *wait, "stop")
            shutil.rmtree(home)
