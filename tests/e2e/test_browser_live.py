"""The page is live: a reading that is stored is on it within 3 s, over a restart of the server and a new sign-in."""

import json
import os
import signal
import time
from collections.abc import Iterator

import httpx2
import pytest
from demo_process import Demo, until
from playwright.sync_api import Browser, Page, sync_playwright
from series import sql
from test_browser import CHROMIUM, pytestmark
from test_browser_states import Open, Visitor, child_of, look, visiting
from wearer import Wearer, wearer_of

__all__ = ["pytestmark"]
AT_ONCE_S = 3.0
READINGS = 4


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


def wearing(demo: Demo, visitor: Visitor) -> Wearer:
    """A connection with a first reading, shown on the page, which has its stream open."""
    wearer = wearer_of(demo, visitor.person_id)
    wearer.put_connection("connected", "us")
    wearer.put_reading(100, 14, name="first")
    look(visitor.page)
    until(lambda: number_of(visitor.page) == "100", "the first reading is shown")
    return wearer


def number_of(page: Page) -> str:
    return page.inner_text("#current-number")


def seconds_until_shown(page: Page, wearer: Wearer, value: int, minutes_ago: float) -> float:
    """Stores a reading and waits for it; the time counts from its commit."""
    wearer.put_reading(value, minutes_ago, name=f"value {value}")
    stored = time.monotonic()
    page.wait_for_function(
        "(value) => document.getElementById('current-number').textContent === value", arg=str(value), timeout=30_000
    )
    return time.monotonic() - stored


def test_a_reading_is_shown_within_three_seconds_of_being_stored(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)
    # Only the stream is left: nothing that is seen now comes from a look.
    page.route("**/readings?*", lambda route: route.abort())
    page.route("**/connections?*", lambda route: route.abort())

    took = [seconds_until_shown(page, wearer, 110 + place, 10 - place) for place in range(READINGS)]

    assert max(took) <= AT_ONCE_S
    assert {110, 111, 112, 113} <= set(visitor.chart()["values"])


def test_a_correction_and_a_late_reading_reach_the_chart_without_a_reload(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    wearer = wearing(demo, visitor)
    wearer.put_reading(150, 5, name="newer")
    until(lambda: number_of(visitor.page) == "150", "the newer one is shown")

    wearer.put_reading(77, 60, name="late")
    sql(
        demo,
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, outcome, inserted,"
        " started_at, finished_at) values (gen_random_uuid()::text, %s, %s, 'schedule', 'done', 'succeeded', 1,"
        " now(), now()) returning id",
        wearer.connection_id, wearer.person_id,
    )  # fmt: skip

    until(lambda: 77 in visitor.chart()["values"], "the late reading is drawn", AT_ONCE_S + 2)
    assert number_of(visitor.page) == "150"


def test_a_state_that_changes_is_told_at_once(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    wearer = wearing(demo, visitor)

    wearer.put_connection("expired", "us")

    visitor.page.wait_for_selector('[data-test="status"]:text-is("Sign in again")', timeout=4_000)


def test_readings_go_on_appearing_after_a_restart_of_the_server(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)
    before = child_of(demo, "serve")

    os.kill(before, signal.SIGTERM)
    until(lambda: serving(demo) not in (None, before), "another server is up", 40)
    until(lambda: page.inner_text('[data-test="offline"]') == "", "nothing is said to be offline", 40)
    wearer.put_reading(120, 3, name="after")
    until(lambda: number_of(page) == "120", "the page follows the new server", 40)

    assert seconds_until_shown(page, wearer, 121, 2) <= AT_ONCE_S


def serving(demo: Demo) -> int | None:
    """The process that answers, if one does."""
    try:
        with demo.api() as api:
            return child_of(demo, "serve") if api.get("/providers").status_code == 200 else None
    except (httpx2.TransportError, AssertionError):
        return None


def test_the_end_of_a_session_shows_the_sign_in_and_a_new_one_goes_on(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)

    sql(demo, "delete from cgm_private.sessions where owner_id = %s returning owner_id", visitor.owner)
    page.wait_for_selector('[data-test="sign-in"]', timeout=10_000)
    assert not page.is_visible("#current-number")
    link = json.loads(demo.command("sign-in", "--owner", visitor.owner, "--json").stdout)["url"]
    other = page.context.new_page()
    other.goto(link)
    other.click("form button")
    other.wait_for_selector("#current-number")
    other.close()

    page.wait_for_selector("#current-number", timeout=20_000)
    until(lambda: number_of(page) == "100", "the readings are there again")
    assert seconds_until_shown(page, wearer, 131, 2) <= AT_ONCE_S


def test_what_is_told_of_one_person_never_gets_into_the_view_of_another(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)
    added = demo.command("person", "add", "Lou", "--owner", visitor.owner)
    assert added.returncode == 0, added.stderr
    page.reload()
    page.wait_for_selector('[data-test="person-picker"]')
    until(lambda: number_of(page) == "100", "the first person is shown")

    page.select_option('[data-test="person-picker"]', label="Lou")
    wearer.put_reading(222, 1, name="of the other")
    page.wait_for_timeout(2500)

    assert number_of(page) == "–"
    assert 222 not in visitor.chart()["values"]
