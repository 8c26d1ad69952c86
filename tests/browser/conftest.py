"""Debian's Chromium on the pages that the pipeline leaves: `make ui` and the report."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clone import HANGING_S, Clone
from tests.servers import free_port, serving

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Watched:
    """A page, the hosts that it asked and the errors that it told of.

    `SCREENSHOTS=folder` in the environment keeps the pictures that tests take of it.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        page.set_default_timeout(1000 * HANGING_S)
        page.on("request", lambda request: self._asked(request.url))
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _asked(self, url: str) -> None:
        if found := re.match(r"(?:https?|wss?)://([^/]+)", url):
            self.hosts.add(found[1])

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location['url']}")

    def open(self, address: str) -> Any:
        self.page.goto("about:blank")  # or a page that differs behind the # only is not loaded
        self.page.goto(address)
        return self.page

    def picture(self, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    page = chromium.new_page(viewport={"width": 1600, "height": 1000})
    yield Watched(page)
    page.close()


@pytest.fixture(scope="package")
def links(chromium: Any, reproduced_clone: Clone) -> Iterator[dict[str, str]]:
    """What `make ui` prints, by name, while it serves."""
    port = free_port()
    log = reproduced_clone.folder / ".ui.log"
    command = [sys.executable, "-m", "pipelines.ui", "--port", str(port)]
    folder, environment = reproduced_clone.folder, reproduced_clone.environment()
    with log.open("w") as printed, serving(command, environment, port, folder=folder, log=printed):
        yield dict(re.findall(r"^ *(\w[\w ]*?)  (\S+)$", log.read_text(), re.MULTILINE))
    log.unlink()
