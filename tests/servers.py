"""Real HTTP servers for tests of the store: MLflow's server, and a proxy with a fault."""

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import IO

from pipelines import ui
from tests.clone import HANGING_S, wait_for


def free_port() -> int:
    """A free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(
    command: list[str],
    environment: Mapping[str, str],
    port: int,
    ready: str = "health",
    folder: Path | None = None,
    log: int | IO[str] = subprocess.DEVNULL,
) -> Iterator[str]:
    """A server inside the block; yields its address when its path `ready` answers."""
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"{address}/{ready}", timeout=HANGING_S).close()
        except OSError:
            return False
        return True

    try:
        wait_for(answers, server)
        yield address
    finally:
        server.terminate()
        server.wait(HANGING_S)


@contextmanager
def served_ui() -> Iterator[str]:
    """The server of `make ui` on the store of the test."""
    port = free_port()
    with serving(ui.server_command(port), ui.server_environment(), port) as address:
        yield address


@contextmanager
def mlflow_server(
    backend: str, artifacts: Path, environment: Mapping[str, str], workers: int = 1
) -> Iterator[str]:
    """`mlflow server` with any database and with artifacts through the server."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--workers", str(workers), "--artifacts-destination", str(artifacts)]
    own = {
        "MLFLOW_BACKEND_STORE_URI": backend,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with serving(command, {**environment, **own}, port) as address:
        yield address


class _Relay(BaseHTTPRequestHandler):
    """Forwards a request to the server behind, after the fault."""

    server: "Faulty"

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server
        fault.calls += 1
        if fault.drops:
            return
        if fault.hangs or fault.calls > fault.answers:
            fault.ended.wait()
            return
        if fault.ended.wait(fault.delay_s):
            return
        if fault.behind is None:
            self._reply(500, "text/plain", b"out of order")
            return
        request = urllib.request.Request(f"{fault.behind}{self.path}", body, method=self.command)
        request.add_header("Content-Type", self.headers.get("Content-Type") or "application/json")
        try:
            with urllib.request.urlopen(request) as answer:
                self._reply(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._reply(error.code, error.headers["Content-Type"], error.read())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay  # noqa: N815 - the library's names

    def _reply(self, status: int, kind: str | None, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the client closed the connection

    def log_message(self, format: str, *args: object) -> None:
        """Does nothing; the default prints each request."""


class Faulty(ThreadingHTTPServer):
    """A proxy with a fault.

    Attributes:
        behind: Address of the server behind; None = each answer is a 500.
        delay_s: Delay of each answer in seconds.
        answers: Number of calls that get an answer.
        hangs: Whether no call gets an answer.
        drops: Whether each connection is closed without an answer.
        calls: Number of calls so far.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        behind: str | None = None,
        delay_s: float = 0.0,
        answers: float = float("inf"),
        hangs: bool = False,
        drops: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.behind, self.delay_s, self.answers, self.hangs = behind, delay_s, answers, hangs
        self.drops, self.calls = drops, 0
        self.ended = Event()

    @property
    def address(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Faulty":
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
