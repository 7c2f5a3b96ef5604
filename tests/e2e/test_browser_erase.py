"""Deleting one's data on the page, in a real Chromium: counted first, a typed word, told afterwards."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from demo_process import Demo
from playwright.sync_api import Browser, Page, sync_playwright
from series import everything_is_in, sql, stored
from test_browser import CHROMIUM, pytestmark
from test_browser_states import Open, connected, serious, visiting

__all__ = ["pytestmark"]
SCREENS = Path(__file__).parents[2] / "docs" / "screens"


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


def finger_pricks(demo: Demo, person_id: str, number: int = 2) -> None:
    """What the host app wrote."""
    with psycopg.connect(demo.line["admin_database_url"], autocommit=True) as conn:
        conn.execute(
            'insert into public.glucose_readings (id, person_id, "timestamp", value, source)'
            " select 'host-' || %s || n, %s, now() - interval '1 day' * n, 90, 'fingerstick'"
            " from generate_series(1, %s) n",
            [person_id, person_id, number],
        )


def ask(page: Page) -> None:
    page.click('[data-test="erase"]')
    page.wait_for_selector('#erase-dialog[open] #erase-yes:not([aria-disabled="true"])')


def lines(page: Page, name: str) -> list[str]:
    return page.locator(f'[data-test="{name}"] li').all_inner_texts()


def rows(demo: Demo, person_id: str) -> list[tuple[Any, ...]]:
    return sql(
        demo,
        """select source::text, count(*) from public.glucose_readings where person_id = %s group by 1 order by 1""",
        person_id,
    )


def test_the_counts_come_first_and_only_the_word_deletes(demo: Demo, open_page: Open) -> None:
    visitor = connected(open_page())
    everything_is_in(demo, visitor.person_id)
    finger_pricks(demo, visitor.person_id)
    page = visitor.page
    readings = rows(demo, visitor.person_id)[0][1]

    ask(page)
    gone, kept = lines(page, "erase-gone"), lines(page, "erase-kept")
    page.click('[data-test="confirm-erase"]')
    hint = page.inner_text("#erase-hint")
    page.fill('[data-test="erase-word"]', "remove")
    page.keyboard.press("Enter")
    still = rows(demo, visitor.person_id)
    page.fill('[data-test="erase-word"]', "delete")
    page.keyboard.press("Enter")
    page.wait_for_selector('#notice-text:has-text("Deleted")')

    assert gone[0] == f"{readings:,} readings of a sensor"
    assert gone[1] == "1 connection, with the stored access"
    assert kept == ["2 readings of a finger prick"]
    assert "Type the word delete" in hint
    assert still == [("cgm", readings), ("fingerstick", 2)]
    assert page.inner_text("#notice-text") == (
        f"Deleted: {readings:,} readings and 1 connection, with history and settings. 2 readings of your app stay."
    )
    assert rows(demo, visitor.person_id) == [("fingerstick", 2)]
    page.wait_for_selector('[data-test="connect-dexcom"]')
    assert page.locator('[data-test="connection"]').count() == 0
    assert visitor.console == []


def test_all_readings_go_only_where_the_box_is_ticked(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    finger_pricks(demo, visitor.person_id)
    page = visitor.page

    ask(page)
    page.check('[data-test="erase-all"]')
    page.keyboard.press("Escape")
    ask(page)
    ticked_again = page.is_checked('[data-test="erase-all"]')
    page.check('[data-test="erase-all"]')
    page.fill('[data-test="erase-word"]', " Delete ")
    page.click('[data-test="confirm-erase"]')
    page.wait_for_selector('#notice-text:has-text("Deleted")')

    assert not ticked_again
    assert page.inner_text("#notice-text") == "Deleted: 2 readings, with history and settings."
    assert stored(demo, visitor.person_id) == []


def test_going_away_deletes_nothing_and_gives_the_focus_back(demo: Demo, open_page: Open) -> None:
    visitor = connected(open_page())
    everything_is_in(demo, visitor.person_id)
    before = stored(demo, visitor.person_id)
    page = visitor.page

    for leave in ('[data-test="cancel-erase"]', None):
        ask(page)
        page.fill('[data-test="erase-word"]', "delete")
        page.click(leave) if leave else page.keyboard.press("Escape")
        page.wait_for_selector("#erase-dialog", state="hidden")
        assert page.evaluate("document.activeElement.id") == "erase-open"

    ask(page)
    assert page.input_value('[data-test="erase-word"]') == ""
    assert stored(demo, visitor.person_id) == before


def test_without_counts_nothing_can_be_deleted(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    finger_pricks(demo, visitor.person_id)
    page = visitor.page
    page.route("**/persons/*/data", lambda route: route.fulfill(status=503, json={"detail": "Try again in a moment."}))

    page.click('[data-test="erase"]')
    page.wait_for_selector("#erase-hint:not(:empty)")
    page.fill('[data-test="erase-word"]', "delete")
    page.keyboard.press("Enter")

    assert page.inner_text("#erase-hint") == "Try again in a moment."
    assert page.get_attribute("#erase-yes", "aria-disabled") == "true"
    assert len(stored(demo, visitor.person_id)) == 2


def test_a_refused_deletion_is_told_where_it_was_asked_for(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    page = visitor.page
    ask(page)
    page.route("**/persons/**", lambda route: route.fulfill(status=503, json={"detail": "Try again in a moment."}))

    page.fill('[data-test="erase-word"]', "delete")
    page.click('[data-test="confirm-erase"]')
    page.wait_for_selector("#erase-hint:not(:empty)")

    assert page.is_visible("#erase-dialog")
    assert page.inner_text("#erase-hint") == "Try again in a moment."
    assert page.get_attribute("#erase-yes", "aria-disabled") is None


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dialog_has_no_serious_finding_and_its_picture(
    demo: Demo, open_page: Open, tmp_path: Path, width: int, scheme: str
) -> None:
    visitor = connected(open_page(color_scheme=scheme, viewport={"width": width, "height": 860}))
    everything_is_in(demo, visitor.person_id)
    finger_pricks(demo, visitor.person_id)
    page = visitor.page
    page.click("#notice-close")
    folder = SCREENS if os.environ.get("UPDATE_SCREENS") == "1" else tmp_path
    name = "desktop" if width > 1000 else "phone"

    ask(page)
    page.click('[data-test="confirm-erase"]')
    found = serious(page)
    page.screenshot(path=str(folder / f"erase-{name}-{scheme}.png"), animations="disabled")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    dialog = page.locator("#erase-dialog").bounding_box()

    assert found == []
    assert overflow <= 0
    assert dialog is not None
    assert dialog["height"] <= 860
    assert (folder / f"erase-{name}-{scheme}.png").stat().st_size > 8_000
