"""A value that is late is never drawn, worded or spoken as the present one: by age, connection, region and clock."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from demo_process import Demo, until
from playwright.sync_api import Browser, Page, sync_playwright
from test_browser import CHROMIUM, pytestmark
from test_browser_states import Open, Visitor, look, visiting
from wearer import Wearer, wearer_of

__all__ = ["pytestmark"]
# In minutes: as old as the vendor usually is (1 h in the US, 3 h elsewhere), a cadence, the upload, an hour; beyond
# that a value says nothing about now. Who has lost the connection has no usual delay.
STALE_AFTER = {"us": 140, "eu": 260, "gone": 80}
CURRENT_FOR = 15
AGES = (-3, 2, 14, 16, 79, 81, 139, 141, 259, 261, 1600)
DELAY = {"us": "about 1 hour", "eu": "about 3 hours"}
NOTES = {
    "error": "Dexcom gives nothing newer at the moment. We keep trying.",
    "expired": "Dexcom needs a new sign-in. Nothing newer comes until then.",
    "disconnected": "Dexcom is paused. Nothing newer is fetched.",
    "gone": "Its connection is gone. Nothing newer comes from there.",
}
BRINGS_READINGS = ("connected", "error")
CASES = [
    *((status, region) for status in ("connected", "error", "expired", "disconnected") for region in ("us", "eu")),
    ("gone", "gone"),
]
SHOWN = """() => {
  const text = (id) => document.getElementById(id).textContent;
  const colour = (element) => getComputedStyle(element).color;
  const probe = document.createElement('span');
  document.body.append(probe);
  const tokens = ['chart-high', 'chart-low', 'chart-line', 'ink', 'ink-quiet'].map((name) => {
    probe.style.setProperty('color', `var(--${name})`);
    return [colour(probe), name];
  });
  probe.remove();
  const number = document.getElementById('current-number');
  const arrow = document.getElementById('current-arrow');
  const note = document.getElementById('current-note');
  return {
    title: text('current-title'),
    number: number.textContent,
    colour: Object.fromEntries(tokens)[colour(number)],
    arrow: arrow.getClientRects().length > 0,
    age: text('current-age'),
    note: note.hidden ? '' : note.textContent,
    spoken: text('current-spoken'),
  };
}"""
values = count(185)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture(scope="module")
def open_page(demo: Demo, browser: Browser) -> Iterator[Open]:
    with visiting(demo, browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def visitor(open_page: Open) -> Visitor:
    return open_page()


@pytest.fixture
def wearer(demo: Demo, visitor: Visitor) -> Wearer:
    return wearer_of(demo, visitor.person_id)


def show(page: Page, wearer: Wearer, minutes_ago: float) -> dict[str, Any]:
    """Stores a high value of this age, and gives how the page shows it."""
    value = next(values)
    wearer.put_reading(value, minutes_ago)
    look(page)
    until(lambda: page.inner_text("#current-number") == str(value), f"the page shows {value}")
    return dict(page.evaluate(SHOWN))


def span(minutes: float) -> str:
    if minutes < 1:
        return "just now"
    return f"{int(minutes)} min ago" if minutes < 60 else f"{int(minutes // 60)} h ago"


def as_current(number: str, minutes: float) -> dict[str, Any]:
    return {
        "title": "Glucose now",
        "number": number,
        "colour": "chart-high",
        "arrow": True,
        "age": f"steady · above target · {span(minutes)}",
        "note": "",
        "spoken": f"Glucose {number} mg/dL, steady, above target.",
    }


def as_late(number: str, minutes: float, note: str) -> dict[str, Any]:
    return {
        "title": "Glucose",
        "number": number,
        "colour": "ink-quiet",
        "arrow": False,
        "age": f"Last value, {span(minutes)}",
        "note": note,
        "spoken": f"Last value {number} mg/dL, not current.",
    }


@pytest.mark.parametrize(("status", "region"), CASES)
def test_a_value_is_only_current_while_it_is(visitor: Visitor, wearer: Wearer, status: str, region: str) -> None:
    page = visitor.page
    wearer.put_connection(status, region)
    # A look that was on its way may show one value beside the connection as it was before; the next one cannot.
    show(page, wearer, 30)

    seen = {minutes: show(page, wearer, minutes + 0.25) for minutes in AGES}

    expected = {}
    for minutes in AGES:
        number = seen[minutes]["number"]
        if status in BRINGS_READINGS and minutes <= CURRENT_FOR:
            expected[minutes] = as_current(number, minutes)
        elif status != "connected":
            expected[minutes] = as_late(number, minutes, NOTES[status])
        elif minutes > STALE_AFTER[region]:
            expected[minutes] = as_late(number, minutes, "No newer reading has arrived. Check the sensor and its app.")
        else:
            note = f"Dexcom hands readings over with a delay of {DELAY[region]}."
            expected[minutes] = as_late(number, minutes, note)
    assert seen == expected
    assert not re.search(r"\d", page.title())


def test_the_chart_ends_now_and_a_late_value_lies_before_that(visitor: Visitor, wearer: Wearer) -> None:
    page = visitor.page
    wearer.put_connection("connected", "us")

    show(page, wearer, 40)

    end = float(page.get_attribute("#chart", "data-to") or 0)
    assert abs(end - datetime.now(UTC).timestamp()) < 30
    last = max(visitor.chart()["times"])
    assert 40 * 60 <= end - last < 41 * 60
    assert "now" not in (page.get_attribute("#chart", "aria-label") or "")


def test_a_value_dated_ahead_is_never_the_present_one(visitor: Visitor, wearer: Wearer) -> None:
    page = visitor.page
    wearer.put_connection("connected", "us")
    wearer.put_reading(300, -180, trend="doubleUp", name="ahead")

    shown = show(page, wearer, 4)

    assert shown == as_current(shown["number"], 4)
    page.wait_for_selector('[data-part="newest"]:text-is("dated 2 h ahead")')
    assert page.inner_text("#summary-highest") == shown["number"]
    assert 300 not in visitor.chart_values()
    wearer.put_reading(300, 100, trend="doubleUp", name="ahead")


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-2), timedelta(hours=2)], ids=["behind", "ahead"])
def test_a_wrong_clock_of_the_browser_makes_no_value_young_or_old(
    demo: Demo, open_page: Open, wrong_by: timedelta
) -> None:
    visitor = open_page()
    wearer = wearer_of(demo, visitor.person_id)
    wearer.put_connection("connected", "us")
    visitor.page.clock.install(time=datetime.now(UTC) + wrong_by)
    visitor.page.reload()
    visitor.page.wait_for_selector('[data-test="status"]')
    assert abs(visitor.page.evaluate("Date.now()") / 1000 - datetime.now(UTC).timestamp()) > 7000

    young, old = show(visitor.page, wearer, 4.25), show(visitor.page, wearer, 40.25)

    assert young == as_current(young["number"], 4)
    assert old == as_late(old["number"], 40, "Dexcom hands readings over with a delay of about 1 hour.")
    end = float(visitor.page.get_attribute("#chart", "data-to") or 0)
    assert abs(end - datetime.now(UTC).timestamp()) < 30


def a_page_with_a_clock(demo: Demo, open_page: Open, region: str) -> tuple[Page, Wearer]:
    """A connected person's page whose time a test moves, beginning with now."""
    visitor = open_page()
    wearer = wearer_of(demo, visitor.person_id)
    wearer.put_connection("connected", region)
    visitor.page.clock.install(time=datetime.now(UTC))
    visitor.page.reload()
    visitor.page.wait_for_selector('[data-test="status"]')
    return visitor.page, wearer


def test_a_value_grows_old_on_a_page_that_is_offline(demo: Demo, open_page: Open) -> None:
    page, wearer = a_page_with_a_clock(demo, open_page, "us")
    value = show(page, wearer, 10.25)
    assert value["title"] == "Glucose now"
    page.context.set_offline(True)

    page.clock.fast_forward("06:00")
    page.wait_for_selector('[data-test="offline"]:not(:empty)')
    delayed = dict(page.evaluate(SHOWN))
    page.clock.fast_forward("02:20:00")
    page.wait_for_selector("#current[data-state=stale]")
    stale = dict(page.evaluate(SHOWN))

    assert delayed == as_late(value["number"], 16, "Dexcom hands readings over with a delay of about 1 hour.")
    assert stale == as_late(value["number"], 156, "No newer reading has arrived. Check the sensor and its app.")


def test_a_clock_that_is_set_back_makes_no_value_young_again(demo: Demo, open_page: Open) -> None:
    page, wearer = a_page_with_a_clock(demo, open_page, "us")
    value = show(page, wearer, 14.25)
    page.context.set_offline(True)
    page.clock.fast_forward("02:00")
    page.wait_for_selector("#current[data-state=delayed]")

    page.clock.set_system_time(datetime.now(UTC) - timedelta(hours=5))
    page.clock.run_for(11_000)

    shown = dict(page.evaluate(SHOWN))
    assert (shown["title"], shown["number"], shown["colour"], shown["arrow"]) == (
        "Glucose", value["number"], "ink-quiet", False,
    )  # fmt: skip


def test_a_value_of_a_service_in_trouble_grows_old_too(demo: Demo, open_page: Open) -> None:
    page, wearer = a_page_with_a_clock(demo, open_page, "eu")
    value = show(page, wearer, 10.25)
    page.route("**/api/**", lambda route: route.fulfill(status=503, json={"detail": "no"}))

    page.clock.fast_forward("06:00")
    page.wait_for_selector('[data-test="offline"] >> text=/has trouble/')

    late = as_late(value["number"], 16, "Dexcom hands readings over with a delay of about 3 hours.")
    assert dict(page.evaluate(SHOWN)) == late
