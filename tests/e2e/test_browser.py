"""A real Chromium walks from the sign-in link to the chart, for two owners."""

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from demo_process import PATIENCE_S, Demo, until
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from series import Series, differing, stored

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.environ.get("SKIP_BROWSER") == "1", reason="SKIP_BROWSER=1 was asked for"),
]
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A person's own browser; it waits as patiently as the tests do."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE_S)
    return context


class Walker:
    """A person at a browser: counts clicks, keeps what the console said and which origins were asked."""

    def __init__(self, context: BrowserContext, demo: Demo):
        self.page: Page = context.new_page()
        self.demo = demo
        self.clicks = 0
        self.console: list[str] = []
        self.page.on("console", lambda line: self.console.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.console.append(str(error)))

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.click(selector)

    def sign_in(self, link: str) -> None:
        self.page.goto(link)
        self.page.click("form button")
        self.page.wait_for_url(f"{self.demo.url}/")

    def connect(self, username: str) -> None:
        """From the page to the vendor and back; the account is chosen where it is not the first one."""
        self.click('[data-test="connect-dexcom"]')
        self.page.wait_for_selector("text=Approve")
        self.click(f'input[value="{username}"]')
        self.click('button[value="approve"]')
        self.page.wait_for_url(f"{self.demo.url}/**")

    def wait_for_chart(self) -> None:
        until(lambda: int(self.page.get_attribute("#chart", "data-points") or 0) > 100, "the chart has points")

    def chart(self) -> dict[str, list[Any]]:
        return dict(self.page.evaluate("window.evercgm.chart()"))

    def chart_values(self) -> list[float]:
        return [value for value in self.chart()["values"] if value is not None]


def new_owner(demo: Demo, label: str) -> tuple[str, str, str]:
    """A second owner with one person: owner id, person id, sign-in link."""
    owner = str(uuid.uuid4())
    person = json.loads(demo.command("person", "add", label, "--owner", owner).stdout)
    link = json.loads(demo.command("sign-in", "--owner", owner, "--json").stdout)
    return owner, person["id"], link["url"]


@pytest.fixture
def owner(demo: Demo, browser: Browser) -> Iterator[tuple[Walker, str]]:
    context = new_context(browser, viewport={"width": 1280, "height": 900})
    _owner, person_id, link = new_owner(demo, "Kim")
    walker = Walker(context, demo)
    walker.sign_in(link)
    yield walker, person_id
    context.close()


def last_day(series: Series, shown: dict[str, list[Any]]) -> list[int]:
    first = min(time for time, value in zip(shown["times"], shown["values"], strict=True) if value is not None)
    return [value for instant, value in series if instant.timestamp() >= first - 1]


def test_three_clicks_lead_to_a_chart_of_the_readings(demo: Demo, owner: tuple[Walker, str]) -> None:
    walker, person_id = owner
    began = datetime.now(UTC)

    walker.connect("User7")

    assert walker.clicks == 3
    walker.wait_for_chart()
    until(lambda: not differing(demo, person_id, "User7", began), "the whole trace is stored")
    until(lambda: walker.chart_values() == last_day(stored(demo, person_id), walker.chart()), "the chart is up to date")
    assert walker.console == []


def test_two_owners_see_nothing_of_each_other(demo: Demo, browser: Browser, owner: tuple[Walker, str]) -> None:
    one, one_person = owner
    one.connect("User7")
    one.wait_for_chart()
    other_context = new_context(browser)
    other = Walker(other_context, demo)
    _id, other_person, link = new_owner(demo, "Sam")

    other.sign_in(link)

    other.page.wait_for_selector('[data-test="connect-dexcom"]')
    assert int(other.page.get_attribute("#chart", "data-points") or 0) == 0
    asked = "async (path) => { const answer = await fetch('/api/metabolic/cgm' + path); return answer.status }"
    assert other.page.evaluate(asked, f"/readings?person_id={one_person}") == 404
    assert other.page.evaluate(asked, f"/connections?person_id={one_person}") == 404
    assert one.page.evaluate(asked, f"/readings?person_id={other_person}") == 404
    began = datetime.now(UTC)
    other.connect("User6")
    other.wait_for_chart()
    assert other.chart_values() != one.chart_values()
    until(lambda: not differing(demo, other_person, "User6", began), "the other's trace is stored")
    other_context.close()


def test_a_refusal_connects_nothing_and_says_so(demo: Demo, owner: tuple[Walker, str]) -> None:
    walker, person_id = owner
    walker.click('[data-test="connect-dexcom"]')

    walker.page.click('button[value="deny"]')

    walker.page.wait_for_selector('[data-test="notice"] >> text=/consent/i')
    assert stored(demo, person_id) == []


def test_disconnecting_says_what_is_kept_and_keeps_it(demo: Demo, owner: tuple[Walker, str]) -> None:
    walker, person_id = owner
    walker.connect("User6")
    walker.wait_for_chart()
    kept = stored(demo, person_id)

    walker.page.click('[data-test="disconnect"]')
    walker.page.wait_for_selector("dialog[open]")
    words = walker.page.inner_text("dialog[open]")
    walker.page.click('[data-test="confirm-disconnect"]')

    walker.page.wait_for_selector('[data-test="connect-dexcom"]')
    assert "readings" in words
    assert set(kept) <= set(stored(demo, person_id))


def test_the_readme_picture_is_of_this_page(demo: Demo, owner: tuple[Walker, str], tmp_path: Path) -> None:
    walker, _person = owner
    walker.connect("User7")
    walker.wait_for_chart()

    picture = walker.page.screenshot(path=str(tmp_path / "page.png"), full_page=True)

    assert len(picture) > 20_000
