"""The search and the download of the Inception weights, from a server on this machine."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.measuring.inception import OFFICIAL, NoWeightsError, WeightsFile, find_weights


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download cache of torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], WeightsFile]]:
    """Serves bytes on this machine; returns the description of the file."""
    content = b""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.endswith("/weights.pth"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    def put(served: bytes) -> WeightsFile:
        nonlocal content
        content = served
        digest, url = hashlib.sha256(served).hexdigest(), f"http://127.0.0.1:{server.server_port}"
        return WeightsFile("weights.pth", len(served), digest, f"{url}/weights.pth")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield put
        server.shutdown()
        thread.join()


def test_an_explicit_file_has_priority_and_must_exist(
    tmp_path: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.pth"
    with pytest.raises(ValueError, match=r"own\.pth: no such file") as refused:
        find_weights(own, True)
    assert not isinstance(refused.value, NoWeightsError)
    for path in (own, downloads / OFFICIAL.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert find_weights(own, True) == own
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights(Path("~/own.pth"), True) == own
    assert find_weights(None, False) == downloads / OFFICIAL.name


def test_the_weights_are_downloaded_once(serve, downloads: Path) -> None:
    wanted = serve(b"weights" * 400_000)
    path = find_weights(None, True, wanted)
    assert path == downloads / "weights.pth"
    assert _sha256(path) == wanted.sha256
    assert find_weights(None, True, replace(wanted, url="http://127.0.0.1:9/gone")) == path
    assert list(downloads.iterdir()) == [path]


def test_a_download_shows_its_progress_in_a_terminal(
    serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    find_weights(None, True, serve(b"weights" * 400_000))
    shown = capsys.readouterr().err
    assert "weights.pth:" in shown
    assert "2.80M" in shown


@pytest.mark.parametrize("fault", ["changed", "cut off", "not there", "no server", "no url"])
def test_a_failed_download_leaves_no_file_and_names_the_remedy(
    serve, downloads: Path, fault: str
) -> None:
    wanted = serve(b"weights" * 400_000)
    urls = {
        "not there": wanted.url.replace("weights.pth", "other.pth"),
        "no server": "http://127.0.0.1:9/weights.pth",
        "no url": "weights",
    }
    if fault == "changed":
        wanted = replace(wanted, sha256="0" * 64)
    if fault == "cut off":
        wanted = replace(wanted, sha256=serve(b"weights").sha256)
        serve(b"weigh")
    wanted = replace(wanted, url=urls.get(fault, wanted.url))
    with pytest.raises(NoWeightsError, match=r"no Inception weights from .*: put weights\.pth"):
        find_weights(None, True, wanted)
    assert list(downloads.iterdir()) == []


def test_a_file_url_is_accepted(tmp_path: Path) -> None:
    content = tmp_path / "served"
    content.write_bytes(b"weights")
    wanted = WeightsFile("weights.pth", 7, _sha256(content), content.as_uri())
    assert find_weights(None, True, wanted).read_bytes() == b"weights"
