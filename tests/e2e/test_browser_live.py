"""The page is live: a reading that is stored is on it within 3 s, over a restart of the server and a new sign-in."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from demo_process import API, Demo, until
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright
from series import sql, stored
from test_browser import CHROMIUM, pytestmark
from test_browser_states import Open, Visitor, child_of, connected, look, visiting
from wearer import Wearer, wearer_of

__all__ = ["pytestmark"]
AT_ONCE_S = 3.0
# Half of the minute after which a page looks by itself: what is shown by then was told, however slow the machine.
TOLD_S = 30.0
READINGS = 4
STREAMS_OF_AN_OWNER = 10
LISTEN = """
  const told = [];
  let { id } = given;
  const wait = () => new Promise((done) => { setTimeout(done, 50) });
  const take = (kind, what, at) => { told.push([kind, what.value]); id = at };
  listen(given.api, given.token, given.person, take, id);
"""
READER = (Path(__file__).parents[2] / "docs" / "events.md").read_text().partition("```js\n")[2].partition("```")[0]


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


class Streams:
    """The live streams that a page has open, by the id of their person; the page is loaded anew for that."""

    def __init__(self, page: Page):
        self._open: list[Request] = []
        page.on("request", lambda request: self._open.append(request) if "/events?" in request.url else None)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, self._ended)
        page.reload()

    def _ended(self, request: Request) -> None:
        self._open = [one for one in self._open if one is not request]

    def persons(self) -> list[str]:
        return [parse_qs(urlsplit(one.url).query)["person_id"][0] for one in self._open]


def bearer(demo: Demo, owner: str) -> str:
    return str(json.loads(demo.command("sign-in", "--owner", owner, "--json").stdout)["jwt"])


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
    is_shown = "(value) => document.getElementById('current-number').textContent === value"
    page.wait_for_function(is_shown, arg=str(value), timeout=1000 * TOLD_S)
    return time.monotonic() - stored


def test_a_reading_is_shown_within_three_seconds_of_being_stored(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)
    # Only the stream is left: nothing that is seen now comes from a look.
    page.route("**/readings?*", lambda route: route.abort())
    page.route("**/connections?*", lambda route: route.abort())

    took = [seconds_until_shown(page, wearer, 110 + place, 10 - place) for place in range(READINGS)]

    # One that a machine standing still held up says nothing.
    assert min(took) <= AT_ONCE_S
    assert max(took) <= TOLD_S
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

    until(lambda: 77 in visitor.chart()["values"], "the late reading is drawn", TOLD_S)
    assert number_of(visitor.page) == "150"


def test_a_state_that_changes_is_told_at_once(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    wearer = wearing(demo, visitor)

    wearer.put_connection("expired", "us")

    visitor.page.wait_for_selector('[data-test="status"]:text-is("Sign in again")', timeout=1000 * TOLD_S)


def test_readings_go_on_appearing_after_a_restart_of_the_server(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    wearer = wearing(demo, visitor)
    before = child_of(demo, "serve")

    os.kill(before, signal.SIGTERM)
    until(lambda: serving(demo) not in (None, before), "another server is up")
    until(lambda: page.inner_text('[data-test="offline"]') == "", "nothing is said to be offline")
    wearer.put_reading(120, 3, name="after")
    until(lambda: number_of(page) == "120", "the page follows the new server")

    assert seconds_until_shown(page, wearer, 121, 2) <= TOLD_S


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
    page.wait_for_selector('[data-test="sign-in"]', timeout=1000 * TOLD_S)
    assert not page.is_visible("#current-number")
    link = json.loads(demo.command("sign-in", "--owner", visitor.owner, "--json").stdout)["url"]
    other = page.context.new_page()
    other.goto(link)
    other.click("form button")
    other.wait_for_selector("#current-number")
    other.close()

    page.wait_for_selector("#current-number", timeout=1000 * TOLD_S)
    until(lambda: number_of(page) == "100", "the readings are there again")
    assert seconds_until_shown(page, wearer, 131, 2) <= TOLD_S


def test_what_is_told_of_one_person_never_gets_into_the_view_of_another(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    streams = Streams(page)
    wearer = wearing(demo, visitor)
    added = demo.command("person", "add", "Lou", "--owner", visitor.owner)
    assert added.returncode == 0, added.stderr
    page.reload()
    until(lambda: number_of(page) == "100", "the first person is shown")
    held: list[Route] = []
    hold = [True]
    page.route("**/connections?*", lambda route: held.append(route) if hold else route.continue_())
    look(page)
    until(lambda: number_of(page) and held, "a look is under way")

    # The look of the first person hangs, so that the stream of that person is still open.
    page.select_option('[data-test="person-picker"]', label="Lou")
    wearer.put_reading(222, 1, name="of the other")
    page.wait_for_timeout(2500)
    assert (number_of(page), visitor.chart()["values"]) == ("–", [])
    hold.clear()
    for route in held:
        route.continue_()

    page.wait_for_selector("#chart-empty:visible")
    assert number_of(page) == "–"
    only = [json.loads(added.stdout)["id"]]
    until(lambda: number_of(page) and streams.persons() == only, "only the other person is listened to")
    page.select_option('[data-test="person-picker"]', label="Kim")
    until(lambda: number_of(page) == "222", "the first person's newest value is shown")


def test_a_reading_that_a_worker_stores_is_told_to_the_page(demo: Demo, open_page: Open) -> None:
    faults = f"{demo.control}/faults"
    late = {"set": {"late_batch": {"last_hours": 1, "in_hours": 24}}, "username": "User7"}
    assert httpx2.post(faults, json=late, trust_env=False).status_code == 200
    try:
        page = (visitor := connected(open_page())).page
        page.wait_for_selector('[data-test="sync-progress"]', state="hidden")
        before = newest(demo, visitor)
    finally:
        httpx2.delete(faults, params={"name": "late_batch"}, trust_env=False)

    asked = {"person_id": visitor.person_id, "from": f"{before:%Y-%m-%dT%H:%M:%SZ}"}
    with demo.api(bearer(demo, visitor.owner)) as api:
        assert api.post("/sync", json=asked).status_code == 202
    until(lambda: newest(demo, visitor) > before, "a worker has stored what is new")
    began = time.monotonic()
    at = newest(demo, visitor).timestamp()
    page.wait_for_function("(at) => window.evercgm.chart().times.at(-1) >= at", arg=at, timeout=1000 * TOLD_S)

    assert time.monotonic() - began <= TOLD_S
    assert number_of(page) == str(stored(demo, visitor.person_id)[-1][1])
    assert visitor.console == []


def newest(demo: Demo, visitor: Visitor) -> datetime:
    return stored(demo, visitor.person_id)[-1][0]


def test_where_no_more_streams_are_given_the_page_asks_every_few_seconds(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    page = visitor.page
    wearer = wearing(demo, visitor)
    with ExitStack() as stack:
        page.goto("about:blank")
        api = stack.enter_context(demo.api(bearer(demo, visitor.owner)))
        for _ in range(STREAMS_OF_AN_OWNER):
            until(lambda: _join(stack, api, visitor.person_id), "there is room for a stream")
        with page.expect_response(lambda answer: "/events?" in answer.url) as refused:
            page.goto(demo.url)
        assert refused.value.status == 429

        wearer.put_reading(140, 4, name="polled")
        until(lambda: number_of(page) == "140", "the reading is found without a stream", 45)

        assert page.inner_text('[data-test="offline"]') == ""
        assert page.is_hidden('[data-test="notice"]')
        # There is room again, and it listens.
        with page.expect_response(lambda answer: "/events?" in answer.url and answer.status == 200):
            stack.close()


def _join(stack: ExitStack, api: httpx2.Client, person_id: str) -> bool:
    answer = stack.enter_context(api.stream("GET", "/events", params={"person_id": person_id}))
    return answer.status_code == 200


def test_many_windows_of_one_browser_do_not_starve_each_other(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    wearer = wearing(demo, visitor)
    others = [visitor.page.context.new_page() for _ in range(6)]
    for page in others:
        page.goto(demo.url)
        page.wait_for_selector('[data-test="status"]')

    wearer.put_reading(150, 3, name="for all")

    windows = [visitor.page, *others]
    until(lambda: [number_of(page) for page in windows] == ["150"] * 7, "every window shows the reading", 45)
    assert [page.inner_text('[data-test="offline"]') for page in windows] == [""] * 7


def test_a_page_that_was_away_looks_at_once(demo: Demo, open_page: Open) -> None:
    page = (visitor := open_page()).page
    streams = Streams(page)
    wearer = wearing(demo, visitor)
    until(lambda: number_of(page) and streams.persons(), "it listens")
    set_hidden(page, True)
    until(lambda: number_of(page) and not streams.persons(), "a page that nobody sees has no stream")
    wearer.put_reading(160, 2, name="meanwhile")
    page.wait_for_timeout(1500)
    assert number_of(page) == "100"

    set_hidden(page, False)

    until(lambda: number_of(page) == "160", "it has looked", TOLD_S)
    until(lambda: number_of(page) and streams.persons(), "it listens again")


def set_hidden(page: Page, hidden: bool) -> None:
    """What a browser says when another tab is chosen; a headless one has no tabs to choose."""
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')) }",
        hidden,
    )


def test_the_reader_that_the_docs_give_to_apps_works_and_comes_back(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    wearer = wearing(demo, visitor)
    given = {"api": API, "token": bearer(demo, visitor.owner), "person": visitor.person_id}

    def read(place: str, value: int) -> dict[str, Any]:
        """What is told from a place on until this value, and the place to go on from."""
        until_value = f"while (!told.some(([, value]) => value === {value})) await wait();"
        script = f"async (given) => {{ {READER} {LISTEN} {until_value} return {{ told, id }}; }}"
        return dict(visitor.page.evaluate(script, {**given, "id": place}))

    first = read("", 100)
    wearer.put_reading(101, 9, name="missed")
    wearer.put_reading(102, 8, name="missed too")
    again = read(first["id"], 102)

    assert "connection" in [kind for kind, _ in first["told"]]
    assert [value for kind, value in first["told"] if kind == "reading"] == [100]
    assert [value for kind, value in again["told"] if kind == "reading"] == [101, 102]
