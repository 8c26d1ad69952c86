"""Servers of MLflow, for as long as a test needs one."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipelines import ui


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def served(
    command: Sequence[str],
    environment: Mapping[str, str],
    address: str,
    ready: str,
    folder: Path | None = None,
) -> Iterator[str]:
    """Runs a server until the block ends; yields its address once its path `ready` answers."""
    server = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/{ready}", timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def served_ui() -> Iterator[str]:
    """The UI's server on the store of this test."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served(ui.server_command(port), ui.server_environment(), address, "health"):
        yield address
