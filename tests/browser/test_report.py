"""The report in a browser, opened from its file: it sorts, has two themes, shows its pictures."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import Watched
from tests.clone import PRESETS, Clone

pytestmark = pytest.mark.slow


@pytest.fixture
def report(watched: Watched, reproduced_clone: Clone) -> Iterator[Any]:
    """The page, which in the end has asked nobody and told of no error."""
    page = watched.open((reproduced_clone.folder / "reports/index.html").as_uri())
    page.get_by_role("heading", name="Leaderboard").wait_for()
    yield page
    assert watched.hosts == set()
    assert watched.errors == []


def values(page: Any, column: str) -> list[str]:
    """The model names of the first table from top to bottom, after a click on a column's head."""
    table = page.locator("#leaderboard table").first
    table.locator("thead button", has_text=column).first.click()
    rows = table.locator("tbody").first.locator("tr").all()
    return [row.locator("td, th").first.inner_text().strip() for row in rows]


def test_a_click_on_a_head_sorts_and_a_second_one_turns_the_order(
    report: Any, watched: Watched
) -> None:
    up = values(report, "model")
    down = values(report, "model")
    assert len(up) >= len(PRESETS)
    assert sorted(up) == sorted(down)
    assert up != down
    head = report.locator("#leaderboard table thead [aria-sort]").first
    assert head.get_attribute("aria-sort") == "descending"
    watched.picture("report_sorted")


def test_the_theme_changes_and_stays(report: Any, watched: Watched) -> None:
    def background() -> str:
        return str(report.evaluate("getComputedStyle(document.body).backgroundColor"))

    before = background()
    report.locator("#theme").click()
    changed = background()
    assert changed != before
    watched.picture("report_other_theme")
    report.reload()
    assert background() == changed


def test_every_picture_is_shown(report: Any, watched: Watched) -> None:
    count = report.evaluate("document.images.length")
    assert count > len(PRESETS)
    # Lazy ones are loaded when they come into sight.
    for image in report.locator("img").all():
        image.scroll_into_view_if_needed()
    report.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    watched.picture("report_pictures")
    vectors = "[...document.querySelectorAll('figure svg')].every(s => s.getBBox().width > 0)"
    assert report.evaluate(vectors)
