import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipelines import paths, publish, tracking, ui
from tests.pipelines.served import free_port, served_ui

# MLflow 3.17 uses an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
        f"error: port {port} is taken; choose another one with `--port {port + 1}`"
    )


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
    assert lines[0].startswith("MLflow: 4 runs and the report are there")
    experiment = tracking.open_store().experiment_id("pipeline")
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
    with pytest.raises(SystemExit, match="no MLflow store to show"):
        run_main(monkeypatch)


#: Whether the leftmost metric column is the one that ranks.
FIRST_METRIC = """() => {
    const left = cell => cell.getBoundingClientRect().left;
    const cells = [...document.querySelectorAll('.ag-header-cell')]
        .filter(cell => (cell.getAttribute('col-id') || '').startsWith('metrics.'))
        .sort((a, b) => left(a) - left(b));
    return cells.length > 1
        && cells[0].getAttribute('col-id') === 'metrics.`evaluate/fid_classifier`';
}"""


@pytest.mark.slow
@pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason=f"{CHROMIUM} is not installed")
def test_the_first_link_opens_on_our_metrics_and_a_foreign_host_is_refused(
    reproduced: Path, tmp_path: Path
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    publish.publish()
    with served_ui() as server, sync_api.sync_playwright() as playwright:
        search = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
        urllib.request.urlopen(search).close()
        foreign = urllib.request.Request(search, headers={"Host": "example.org"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(foreign)
        refused.value.close()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        links = ui.links(server)
        page.goto(links["leaderboard"])
        page.get_by_text("evaluate/fid_classifier", exact=True).first.wait_for(timeout=60_000)
        page.get_by_text("vae-s0-").first.wait_for(timeout=30_000)
        # The table orders its columns a moment after it has drawn them, and not in the document.
        page.wait_for_function(FIRST_METRIC, timeout=30_000)
        names = page.locator(".ag-row").all_inner_texts()
        page.screenshot(path=tmp_path / "leaderboard.png")
        page.goto("about:blank")
        page.goto(links["curves"])
        page.get_by_text("valid/elbo", exact=True).first.wait_for(timeout=60_000)
        page.goto("about:blank")
        page.goto(links["by model"])
        page.get_by_text("Group: vae").first.wait_for(timeout=60_000)
        page.goto("about:blank")
        page.goto(links["registry"])
        page.get_by_text("champion").first.wait_for(timeout=60_000)
        page.screenshot(path=tmp_path / "registry.png")
        assert page.get_by_text("What type of experiment").count() == 0
        browser.close()
    assert any("vae-s0" in text for text in names)
