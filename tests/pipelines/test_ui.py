import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import ui
from pipelines.settings import paths
from pipelines.tracking import store
from tests.servers import free_port


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[Any]:
    """Runs the command; returns what it would have become."""
    became: list[Any] = []
    monkeypatch.setattr(ui.os, "execve", lambda *given: became.append(given))
    monkeypatch.setattr(sys, "argv", ["ui", *arguments])
    ui.main()
    return became


def test_a_port_that_is_taken_is_named_with_the_option(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(SystemExit) as error:
            run_main(monkeypatch, "--port", str(port))
    assert error.value.code == (
        f"error: --port {port}: the port is in use; choose another one, such as {port + 1}"
    )


@pytest.mark.parametrize("port", [-1, 0, 70000])
def test_a_port_that_is_none_is_refused(
    port: int, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as error:
        run_main(monkeypatch, f"--port={port}")
    assert error.value.code == f"error: --port {port}: a port is a number from 1 to 65535"


def test_without_outputs_one_line_says_so_and_the_server_starts(
    store_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    became = run_main(monkeypatch, "--port", str(free_port()))
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("nothing to publish yet: ")
    assert second.split()[0] == "leaderboard"
    assert len(became) == 1


def test_a_lost_database_is_filled_before_the_server_starts(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    run_main(monkeypatch, "--port", str(port))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("MLflow: 4 runs are complete; 4 created from the files")
    experiment = store.open_store().experiment_id("pipeline")
    name, address = lines[2].split()
    assert name == "leaderboard"
    assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?")
    assert address.endswith("viewStateShareKey=leaderboard")
    assert lines[-2].split(maxsplit=2) == ["report", "file", str(paths.REPORT)]
    name, address = lines[-3].split()
    assert name == "registry"
    assert address.startswith(f"http://127.0.0.1:{port}/#/models/genmodels?")


def test_the_server_is_reached_from_this_machine_alone(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    ((program, command, environment),) = run_main(monkeypatch, "--port", str(port))
    assert program == sys.executable
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--allowed-hosts") + 1] == f"127.0.0.1:{port},localhost:{port}"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{store_home / 'mlflow.db'}"


def test_a_server_elsewhere_that_is_down_is_one_line(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit, match="the MLflow store cannot be shown"):
        run_main(monkeypatch)
