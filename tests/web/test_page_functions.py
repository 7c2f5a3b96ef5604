"""The page's plain functions, called in a real Chromium without any page around them."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

import evercgm
from evercgm.core.gaps import Reason
from evercgm.file_imports.formats import FORMATS

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("SKIP_BROWSER") == "1", reason="SKIP_BROWSER=1 was asked for"),
]
WEB = Path(evercgm.__file__).parent / "web"
ORIGIN = "http://page.test"
MINUTE = 60_000
NOON = 1_800_000_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page on an origin that has nothing but the page's own scripts."""
    context = browser.new_context()
    context.route(f"{ORIGIN}/**", _serve)
    opened = context.new_page()
    opened.clock.install(time=NOON / 1000 - 60)
    opened.goto(f"{ORIGIN}/")
    yield opened
    context.close()


def _serve(route: Route) -> None:
    name = route.request.url.rpartition("/")[2]
    if name.endswith(".js"):
        route.fulfill(path=WEB / name, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><title>nothing</title>", content_type="text/html")


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    """``function`` of ``module`` with these arguments."""
    return page.evaluate(
        "async ([module, name, given]) => (await import(module))[name](...given)",
        [f"{ORIGIN}/{module}.js", function, list(arguments)],
    )


def reading(minutes_ago: float, **more: Any) -> dict[str, Any]:
    return {"id": "r", "measured_at": iso(NOON - minutes_ago * MINUTE), "value": 120, "flag": None, **more}


def iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def connection(
    told: str = "current", status: str = "connected", minutes_ago: float = 0, of_share: str | None = "not there"
) -> dict[str, Any]:
    routes = [] if of_share == "not there" else [{"route": "dexcom_share", "reason": of_share}]
    return {
        "status": status, "freshness": told, "newest_reading_at": iso(NOON - minutes_ago * MINUTE), "routes": routes
    }  # fmt: skip


@pytest.mark.parametrize(
    ("minutes_ago", "source", "delay", "expected"),
    [
        (15, connection(), 60, "current"),
        (15.001, connection(), 60, "delayed"),
        (140, connection(), 60, "delayed"),
        (140.001, connection(), 60, "stale"),
        (260, connection(), 180, "delayed"),
        (260.001, connection(), 180, "stale"),
        (-5, connection(), 60, "current"),
        (-5.001, connection(), 60, "stale"),
        # The service's word counts where it spoke of this reading, not where this one is newer than its answer.
        (5, connection("delayed", minutes_ago=5), 60, "delayed"),
        (5, connection("stale", minutes_ago=5), 60, "stale"),
        (5, connection("stale", minutes_ago=600), 60, "current"),
        (5, {**connection("none"), "newest_reading_at": None}, 60, "current"),
        (5, connection(status="error"), 60, "current"),
        (5, connection(status="expired"), 60, "delayed"),
        (5, connection(status="expired", of_share=None), 60, "current"),
        (5, connection(status="expired", of_share="password_needed"), 60, "delayed"),
        (5, connection(status="disconnected"), 60, "delayed"),
        (5, None, 0, "delayed"),
        (81, None, 0, "stale"),
    ],
)
def test_how_a_value_may_be_shown(page: Page, minutes_ago: float, source: Any, delay: float, expected: str) -> None:
    assert call(page, "readings", "freshness", reading(minutes_ago), source, delay, NOON) == expected


def test_no_value_and_a_time_that_cannot_be_read_are_not_current(page: Page) -> None:
    assert call(page, "readings", "freshness", None, connection(), 60, NOON) == "none"
    unreadable = reading(1, measured_at="yesterday")
    assert call(page, "readings", "freshness", unreadable, connection(), 60, NOON) == "stale"


def test_a_reading_that_is_told_takes_the_place_of_the_one_with_its_id(page: Page) -> None:
    known = [{"id": "a", "value": 1}, {"id": "b", "value": 2}]

    found = call(page, "readings", "withReading", known, {"id": "b", "value": 3})

    assert sorted(found, key=lambda one: str(one["id"])) == [{"id": "a", "value": 1}, {"id": "b", "value": 3}]


@pytest.mark.parametrize(
    ("minutes_ago", "expected"),
    [(0.5, "just now"), (-4, "just now"), (-125, "dated 2 h ahead"), (59, "59 min ago"), (47 * 60, "47 h ago")],
)
def test_an_age_in_words(page: Page, minutes_ago: float, expected: str) -> None:
    assert call(page, "words", "ago", NOON - minutes_ago * MINUTE, NOON) == expected


def learn(page: Page, header: str | None, asked_at: float) -> None:
    call(page, "clock", "learn", header, asked_at)


def test_the_services_time_counts_and_never_makes_an_age_too_small(page: Page) -> None:
    page.clock.pause_at(NOON / 1000)
    assert call(page, "clock", "now") == NOON

    # Three hours from here; the header may be 2.5 s old, and the answer was two seconds on its way.
    learn(page, "Fri, 15 Jan 2027 11:00:00 GMT", NOON - 2000)
    learn(page, None, NOON)
    learn(page, "nonsense", NOON)

    assert call(page, "clock", "now") == NOON + 3 * 60 * MINUTE + 4500


def test_the_time_is_carried_on_by_whichever_clock_has_run_further(page: Page) -> None:
    page.clock.pause_at(NOON / 1000)
    learn(page, "Fri, 15 Jan 2027 08:00:00 GMT", NOON)
    told = NOON + 2500
    page.clock.run_for(10 * MINUTE)
    assert call(page, "clock", "now") == told + 10 * MINUTE

    page.clock.set_system_time((NOON - 300 * MINUTE) / 1000)
    assert call(page, "clock", "now") == told + 10 * MINUTE
    page.clock.set_system_time((NOON + 120 * MINUTE) / 1000)
    assert call(page, "clock", "now") == told + 120 * MINUTE


MAKE_LOOKS = """async () => {
  const { makeLooks } = await import('/looks.js');
  window.count = 0;
  window.look = async () => {};
  window.looks = makeLooks({
    look: () => { window.count += 1; return window.look(); }, every: () => 60_000, failed: () => {},
  });
}"""


def count_after(page: Page, milliseconds: int) -> int:
    page.clock.run_for(milliseconds)
    return int(page.evaluate("count"))


def test_what_is_told_in_one_burst_needs_one_look(page: Page) -> None:
    page.clock.pause_at(NOON / 1000)
    page.evaluate(MAKE_LOOKS)

    page.evaluate("for (let told = 0; told < 10; told += 1) looks.soon()")

    assert (count_after(page, 299), count_after(page, 2)) == (0, 1)
    assert (count_after(page, 59_900), count_after(page, 200)) == (1, 2)


def test_looks_that_fail_come_ever_more_rarely_and_at_once_when_asked(page: Page) -> None:
    page.clock.pause_at(NOON / 1000)
    page.evaluate(MAKE_LOOKS)

    page.evaluate("look = async () => { throw new Error('no') }; looks.now()")

    for looked, wait in enumerate([5_000, 10_000, 20_000, 40_000, 60_000, 60_000], 1):
        assert (count_after(page, wait - 1), count_after(page, 1)) == (looked, looked + 1)
    page.evaluate("look = async () => {}; looks.now()")
    assert (count_after(page, 59_999), count_after(page, 1)) == (8, 9)


def test_two_looks_never_run_at_once(page: Page) -> None:
    page.evaluate(MAKE_LOOKS)

    page.evaluate(
        "() => { look = () => new Promise((done) => { window.end = done });"
        " looks.now(); looks.now(); looks.soon(); looks.now() }"
    )
    assert page.evaluate("count") == 1
    page.evaluate("end()")
    page.wait_for_function("count === 2")

    page.evaluate("end()")
    page.wait_for_timeout(500)
    assert page.evaluate("count") == 2


def test_who_rests_looks_no_more(page: Page) -> None:
    page.clock.pause_at(NOON / 1000)
    page.evaluate(MAKE_LOOKS)
    page.evaluate("looks.now()")

    page.evaluate("looks.soon(); looks.rest()")

    assert count_after(page, 10 * MINUTE) == 1


@pytest.mark.parametrize("reason", [one for one in get_args(Reason) if one != "unknown"])
def test_every_reason_of_a_gap_has_short_words_for_the_pointer(page: Page, reason: str) -> None:
    gap = {"from": NOON / 1000, "to": NOON / 1000 + 600, "reason": reason, "message": ""}

    assert not call(page, "words", "gapWords", gap).endswith("no readings")


@pytest.mark.parametrize("code", sorted(FORMATS))
def test_the_pointer_names_the_file_that_would_fill_a_gap(page: Page, code: str) -> None:
    gap = {"from": NOON / 1000, "to": NOON / 1000 + 600, "reason": "beyond_vendor_history", "message": ""}

    words = call(page, "words", "gapWords", gap | {"importFormat": code})

    assert words.endswith(f"too old for the vendor, a {FORMATS[code].title.rpartition(' ')[2]} file can fill it")
    assert call(page, "words", "gapWords", gap | {"importFormat": None}).endswith("too old for the vendor")


@pytest.mark.parametrize(
    ("revoked", "listed", "end"),
    [
        (
            False,
            True,
            "The stored access is deleted. To be thorough, you can also remove evercgm in your Dexcom account.",
        ),
        (False, False, "The stored access is deleted."),
        (True, False, "The stored access is deleted. The vendor has ended it, too."),
    ],
)
def test_after_a_disconnect_the_page_says_what_is_left_to_do(page: Page, revoked: bool, listed: bool, end: str) -> None:
    answer = {"readings_kept": 2, "vendor_revoked": revoked}

    assert call(page, "words", "disconnected", "Dexcom", answer, listed) == (
        f"Dexcom is disconnected. Your 2 readings stay. {end}"
    )


@pytest.mark.parametrize(("minutes", "words"), [(0, ""), (10, ""), (11, "11 min late"), (180, "3 h late"), (None, "")])
def test_a_sync_that_began_late_says_that_nobody_was_fetching(page: Page, minutes: float | None, words: str) -> None:
    due = None if minutes is None else iso(NOON - minutes * MINUTE)
    run = {"trigger": "schedule", "took_ms": None, "outcome": None, "due_at": due, "started_at": iso(NOON)}

    assert call(page, "words", "syncAside", run) == (f"{words}: this service was not fetching" if words else "")


@pytest.mark.parametrize(
    ("status", "reason", "of_share", "expected"),
    [
        ("connected", None, [], True),
        ("expired", "reconnect_needed", [], False),
        ("expired", "reconnect_needed", [None], True),
        ("expired", "reconnect_needed", ["vendor_unavailable"], True),
        ("expired", "reconnect_needed", ["password_needed"], False),
        ("error", "unfollowed", [], True),
        ("disconnected", "unfollowed", [], True),
        ("disconnected", "paused", [None], True),
        ("disconnected", "reconnect_needed", ["wrong_password"], False),
    ],
)
def test_a_pause_is_offered_where_something_would_go_on(
    page: Page, status: str, reason: str | None, of_share: list[str | None], expected: bool
) -> None:
    given = {"status": status, "reason": reason, "routes": [{"route": "dexcom_share", "reason": r} for r in of_share]}

    assert call(page, "ways", "canRest", given) is expected
    assert call(page, "ways", "canSync", given) is (expected and status != "disconnected")


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("connected", None, False),
        ("connected", "consent_ends_soon", True),
        ("error", "vendor_unavailable", False),
        ("error", "unfollowed", True),
        ("expired", "wrong_password", True),
    ],
)
def test_a_new_sign_in_is_offered_where_it_would_help(
    page: Page, status: str, reason: str | None, *, expected: bool
) -> None:
    assert call(page, "ways", "offersSignIn", {"status": status, "reason": reason, "routes": []}) is expected


def test_words_beside_an_older_value_ask_for_a_sign_in_only_where_nothing_else_brings_newer_ones(page: Page) -> None:
    expired = {"region": "us", "reason": "reconnect_needed"} | connection(status="expired")
    beside_share = expired | {"routes": [{"route": "dexcom_share", "reason": None}]}

    assert "needs a new sign-in" in call(page, "words", "notNow", "delayed", False, expired, "Dexcom", 60)
    assert "with a delay of" in call(page, "words", "notNow", "delayed", False, beside_share, "Dexcom", 60)


def test_a_value_that_comes_into_a_hole_joins_neither_of_its_sides(page: Page) -> None:
    gap = {"from": (NOON - 55 * MINUTE) / 1000, "to": (NOON - 5 * MINUTE) / 1000}
    points = [reading(minutes_ago) for minutes_ago in (65, 60, 30, 5, 0)]

    assert call(page, "readings", "asLine", points, [gap])["gaps"] == 2
    assert call(page, "readings", "asLine", [*points[:2], *points[3:]], [gap])["gaps"] == 1
    assert call(page, "readings", "asLine", points, [])["gaps"] == 0
