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


def click(page: Any, column: str) -> tuple[list[str], list[str]]:
    """What models and reference rows sort by in a column, after a click on its head.

    The rows of models stand above those of real images, whatever the order.
    """
    table = page.locator("#leaderboard table").first
    head = table.locator("thead th").filter(has=page.locator("button", has_text=column)).first
    head.locator("button").click()
    place = head.evaluate("head => head.cellIndex")
    script = (
        "(body, i) => [...body.rows].map(row =>"
        " [row.classList.contains('reference'), row.cells[i].dataset.v || ''])"
    )
    rows: list[tuple[bool, str]] = table.locator("tbody").first.evaluate(script, place)
    kinds = [reference for reference, _ in rows]
    assert kinds == sorted(kinds)
    models, references = ([v for kind, v in rows if kind is which] for which in (False, True))
    return models, references


def test_a_click_on_a_head_sorts_and_a_second_one_turns_the_order(
    report: Any, watched: Watched
) -> None:
    up, down = (click(report, "kid_") for _ in range(2))
    for rising, falling in zip(up, down, strict=True):
        numbers = [float(value) for value in rising if value]
        assert len(numbers) >= len(PRESETS)
        assert numbers == sorted(numbers)
        assert len(set(numbers)) == len(numbers)
        # What has no value stays at the end in either order.
        missing = [""] * (len(rising) - len(numbers))
        assert rising == [*rising[: len(numbers)], *missing]
        assert falling == [*rising[: len(numbers)][::-1], *missing]
    assert "" in up[1]  # the row of the expected floor has no KID
    head = report.locator("#leaderboard table thead [aria-sort]").first
    assert head.get_attribute("aria-sort") == "descending"
    watched.picture("report_sorted")


def test_a_phone_shows_all_of_its_width(report: Any, watched: Watched) -> None:
    report.set_viewport_size({"width": 390, "height": 800})
    assert not report.evaluate("document.documentElement.scrollWidth > innerWidth")
    watched.picture("report_phone")


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
