"""Importing a file on the page, in a real Chromium: chosen, asked, sent, told; by keyboard, and on a phone."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from demo_process import Demo
from export_files import clarity, libreview
from playwright.sync_api import Browser, Page, Route, sync_playwright
from series import stored
from test_browser import CHROMIUM, pytestmark
from test_browser_states import Open, Visitor, serious, visiting

__all__ = ["pytestmark"]
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
HINT = '[data-test="import-hint"]'
NOTICE = "#notice-text"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def open_page(demo: Demo, browser: Browser) -> Iterator[Open]:
    with visiting(demo, browser) as opened:
        yield opened


def last_hours(hours: int = 6, form: str = "%Y-%m-%d %H:%M") -> bytes:
    """A LibreView file whose last value is of this hour, by UTC."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    at = [now - timedelta(minutes=5 * n) for n in range(12 * hours, 0, -1)]
    return libreview([(one.strftime(form), 0, 90 + n % 60) for n, one in enumerate(at)])


def opened_form(page: Page) -> Page:
    page.click('[data-test="import"] summary')
    page.wait_for_selector('[data-test="import-file"]', state="visible")
    return page


def choose(page: Page, body: bytes, name: str = "Test_Person_glucose.csv") -> None:
    page.set_input_files('[data-test="import-file"]', {"name": name, "mimeType": "text/csv", "buffer": body})


def send(page: Page) -> None:
    page.click('[data-test="import-send"]')


def told(page: Page, part: str) -> str:
    page.wait_for_selector(f'{NOTICE}:has-text("{part}")')
    return page.inner_text(NOTICE)


def refused(page: Page, part: str) -> str:
    page.wait_for_selector(f'{HINT}:has-text("{part}")')
    return page.inner_text(HINT)


def test_a_file_is_imported_into_the_chart_and_the_same_again_adds_nothing(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = opened_form(visitor.page)
    body = last_hours()

    zone = page.input_value('[data-test="import-time-zone"]')
    choose(page, body)
    send(page)
    first = told(page, "added")
    page.wait_for_selector('#chart:not([data-points="0"])')
    choose(page, body)
    send(page)
    again = told(page, "nothing to add")

    assert zone == "UTC"
    assert first.startswith("LibreView, ")
    assert "72 readings added" in first
    assert "72 readings were here already" in again
    assert len(stored(demo, visitor.person_id)) == 72
    assert page.input_value('[data-test="import-file"]') == ""
    assert visitor.console == []


def test_the_line_of_a_sensor_of_fifteen_minutes_breaks_only_where_a_reading_is_missing(open_page: Open) -> None:
    page = opened_form(open_page(timezone_id="UTC").page)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    quarters = [now - timedelta(minutes=15 * n) for n in range(24, 0, -1) if n not in (11, 12)]

    choose(page, libreview([(f"{at:%Y-%m-%d %H:%M}", 0, 90 + n) for n, at in enumerate(quarters)]))
    send(page)
    told(page, "22 readings added")
    page.wait_for_selector('#chart[data-points="22"]')

    assert page.get_attribute("#chart", "data-gaps") == "1"


def test_what_files_fill_is_a_connection_with_its_history_and_nothing_to_press_in_vain(open_page: Open) -> None:
    page = opened_form(open_page(timezone_id="UTC").page)

    choose(page, last_hours(1))
    send(page)
    page.wait_for_selector('[data-test="connection"]')
    card = page.locator('[data-test="connection"]')
    card.locator('[data-test="sync-history"] summary').click()

    assert card.locator("h3").inner_text() == "LibreView file"
    assert card.locator('[data-test="status"]').inner_text() == "Connected"
    assert "Last import" in card.inner_text()
    assert "Next sync" not in card.inner_text()
    assert not card.locator('[data-test="sync-now"]').is_visible()
    assert not card.locator('[data-test="pause"]').is_visible()
    history = card.locator('[data-test="sync-history"] li').inner_text()
    assert "12 new" in history
    assert "from a file" in history


def test_the_browsers_zone_is_taken_until_another_is_chosen(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="America/New_York")
    page = opened_form(visitor.page)
    body = clarity([("2026-03-13 08:00:00", 101, 300)])

    choose(page, body)
    send(page)
    told(page, "1 reading added")
    new_york = stored(demo, visitor.person_id)
    choose(page, body)
    page.select_option('[data-test="import-time-zone"]', "Europe/Berlin")
    send(page)
    moved = told(page, "another time or value")

    assert [f"{at:%H:%M}" for at, _ in new_york] == ["12:00"]
    assert [f"{at:%H:%M}" for at, _ in stored(demo, visitor.person_id)] == ["07:00"]
    assert "nothing to add. 1 reading was here already. 1 reading of these now has" in moved


def test_only_what_nobody_else_knows_is_asked_for_and_the_question_has_the_focus(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = opened_form(visitor.page)
    hidden = [page.is_visible(f'[data-test="import-{name}"]') for name in ("date-order", "unit")]

    choose(page, libreview([("03-04-2026 08:00", 0, 95)]))
    send(page)
    question = refused(page, "does the day or the month come first?")
    focus = page.evaluate("document.activeElement.id")
    page.keyboard.press("T")
    page.select_option('[data-test="import-date-order"]', "month_first")
    send(page)
    told(page, "1 reading added")

    assert hidden == [False, False]
    assert question.startswith("The file's dates fit both")
    assert focus == "import-date-order"
    assert [f"{at:%Y-%m-%d}" for at, _ in stored(demo, visitor.person_id)] == ["2026-03-04"]
    assert not page.is_visible('[data-test="import-date-order"]')


def test_a_file_that_cannot_be_taken_says_where_and_the_form_stays_as_it_was(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = opened_form(visitor.page)

    send(page)
    none = refused(page, "Choose a file first")
    choose(page, libreview([("13-03-2026 08:00", 0, 95), ("13-03-2026 08:05", 0, "fast")]))
    send(page)
    cell = refused(page, "column 5")
    focus = page.evaluate("document.activeElement.id")
    choose(page, b"PK\x03\x04" + b"\x00" * 99, "export.zip")
    send(page)
    archive = refused(page, "unpack it first")

    assert none == "Choose a file first."
    assert cell.startswith("Line 4, column 5: fast is neither a glucose value in mg/dL")
    assert cell.endswith("Nothing was imported.")
    assert focus == "import-file"
    assert archive.startswith("It is an archive: unpack it first")
    assert stored(demo, visitor.person_id) == []


def test_a_service_that_cannot_be_reached_is_told_and_the_file_can_be_sent_again(open_page: Open) -> None:
    page = opened_form(open_page(timezone_id="UTC").page)
    choose(page, last_hours(1))

    page.route("**/imports", lambda route: route.abort())
    send(page)
    refused(page, "cannot be reached")
    page.unroute("**/imports")
    send(page)

    assert "12 readings added" in told(page, "added")


def test_progress_is_shown_while_it_lasts_and_a_second_press_sends_nothing(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = opened_form(visitor.page)
    held: list[Route] = []
    page.route("**/imports", lambda route: held.append(route))
    choose(page, last_hours(1))

    send(page)
    page.wait_for_selector('[data-test="import-progress"]', state="visible")
    page.click('[data-test="import-send"]', force=True)
    words = page.inner_text("#import-progress-text")
    busy = page.get_attribute("#import-form", "aria-busy")
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    told(page, "added")

    assert words in ("Sending the file…", "Reading the file…")
    assert busy == "true"
    assert len(held) == 1
    assert not page.is_visible('[data-test="import-progress"]')


def test_the_form_works_by_keyboard_alone(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = visitor.page
    page.focus('[data-test="import"] summary')

    page.keyboard.press("Enter")
    choose(page, last_hours(1))
    order = []
    for _ in range(3):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    page.keyboard.press("Enter")

    assert order == ["import-file", "import-time-zone", "import-send"]
    assert "12 readings added" in told(page, "added")


def test_another_person_finds_an_empty_form(demo: Demo, open_page: Open) -> None:
    visitor = open_page(timezone_id="UTC")
    page = visitor.page
    demo.command("person", "add", "Sam", "--owner", visitor.owner)
    page.reload()
    page.wait_for_selector('[data-test="person-picker"]')
    opened_form(page)
    choose(page, libreview([("03-04-2026 08:00", 0, 95)]))
    send(page)
    refused(page, "come first?")

    page.select_option('[data-test="person-picker"]', label="Sam")
    page.wait_for_selector('[data-test="import-date-order"]', state="hidden")

    assert page.input_value('[data-test="import-file"]') == ""
    assert page.inner_text(HINT) == ""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_has_no_serious_finding_and_its_picture(
    open_page: Open, tmp_path: Path, width: int, scheme: str
) -> None:
    visitor: Visitor = open_page(timezone_id="UTC", color_scheme=scheme, viewport={"width": width, "height": 860})
    page = opened_form(visitor.page)
    folder = SCREENS if os.environ.get("UPDATE_SCREENS") == "1" else tmp_path
    name = "desktop" if width > 1000 else "phone"

    choose(page, last_hours())
    send(page)
    told(page, "added")
    page.wait_for_selector('#chart:not([data-points="0"])')
    choose(page, libreview([("03-04-2026 08:00", 0, 95)]))
    send(page)
    refused(page, "come first?")
    found = serious(page)
    path = folder / f"import-{name}-{scheme}.png"
    page.screenshot(path=str(path), animations="disabled", full_page=True)
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert found == []
    assert overflow <= 0
    assert path.stat().st_size > 8_000
