"""Every state of the page in a real Chromium: paused, expired, restarted, hostile, by keyboard, to a screen reader."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from demo_process import Demo, until
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, sync_playwright
from series import at_rest, sql
from test_browser import CHROMIUM, Walker, new_context, new_owner, pytestmark

__all__ = ["pytestmark"]
AXE_FILE = Path(__file__).parent / "vendor" / "axe-4.10.3.min.js"
AXE = AXE_FILE.read_text(encoding="utf-8")
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
FIRST_LOAD = 200_000
CHART_LIBRARY = "/assets/vendor/uPlot.esm.js"


class Visitor(Walker):
    """A walker who is signed in as an owner with one person."""

    def __init__(self, context: BrowserContext, demo: Demo, label: str):
        super().__init__(context, demo)
        self.owner, self.person_id, link = new_owner(demo, label)
        self.sign_in(link)
        self.page.wait_for_selector('[data-test="connect-dexcom"]')


Open = Callable[..., Visitor]
Who = TypeVar("Who", bound=Walker)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


@contextmanager
def visiting(demo: Demo, browser: Browser) -> Iterator[Open]:
    """Opens pages, each of a new owner in a browser of its own, and closes them in the end."""
    contexts: list[BrowserContext] = []

    def opened(label: str = "Kim", **options: Any) -> Visitor:
        contexts.append(new_context(browser, **{"viewport": {"width": 1280, "height": 900}, **options}))
        return Visitor(contexts[-1], demo, label)

    yield opened
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()


@pytest.fixture
def open_page(demo: Demo, browser: Browser) -> Iterator[Open]:
    with visiting(demo, browser) as opened:
        yield opened


def connected(walker: Who, username: str = "User7") -> Who:
    walker.connect(username)
    walker.wait_for_chart()
    return walker


def status_is(page: Page, words: str) -> None:
    page.wait_for_selector(f'[data-test="status"]:text-is("{words}")')


def look(page: Page) -> None:
    """Makes the page look at once, as it does when the network is back."""
    page.evaluate("dispatchEvent(new Event('online'))")


@contextmanager
def answering(page: Page, path: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Meanwhile the service's answers at ``path`` reach the page as ``change`` makes them."""
    meanwhile = True

    def changed(route: Route) -> None:
        if not meanwhile:
            return route.fallback()
        answer = route.fetch()
        return route.fulfill(response=answer, json=change(answer.json()))

    page.route(path, changed)
    look(page)
    yield
    # Not unrouted: an answer may be on its way, and only known routes are let go in silence in the end.
    meanwhile = False


def each_connection(**facts: Any) -> Callable[[Any], Any]:
    """A change for ``answering``: all connections with these facts."""
    return lambda answer: {"connections": [{**one, **facts} for one in answer["connections"]]}


def expire(demo: Demo, person_id: str) -> None:
    """As the end of the failure ladder leaves it."""
    at_rest(demo, person_id)
    sql(
        demo,
        "with ended as (update cgm_private.sync_state set reason = 'reconnect_needed', next_sync_at = null"
        " where person_id = %s returning connection_id) update public.cgm_connections c set status = 'expired'"
        " from ended where c.id = ended.connection_id returning c.id",
        person_id,
    )


def child_of(demo: Demo, word: str) -> int:
    """The process id of a child of the demo by a word of its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            arguments = (folder / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == demo.process.pid and word in arguments:
            return int(folder.name)
    raise AssertionError(f"no child {word}")


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element has the focus, as a person without a mouse does."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement?.matches(selector) ?? false", selector):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"nobody sees that {selector} has the focus"
            return
    raise AssertionError(f"Tab never reaches {selector}")


def focused(page: Page) -> str:
    """What has the focus: its name for tests, else its id; '' where the focus is lost."""
    return str(page.evaluate("document.activeElement.dataset.test ?? document.activeElement.id"))


@pytest.mark.parametrize("width", [390, 1280])
def test_connecting_pausing_syncing_and_disconnecting_need_no_mouse(demo: Demo, open_page: Open, width: int) -> None:
    walker = open_page(viewport={"width": width, "height": 844})
    page = walker.page

    tab_to(page, '[data-test="connect-dexcom"]')
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Approve")
    tab_to(page, 'button[value="approve"]')
    page.keyboard.press("Enter")
    page.wait_for_url(f"{demo.url}/**")
    walker.wait_for_chart()
    tab_to(page, "#notice-close")
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-test="notice"]', state="hidden")
    assert focused(page) == "main"

    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")
    tab_to(page, '[data-test="sync-now"]')
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-test="sync-hint"]:not(:empty)')
    assert focused(page) == "sync-now"

    tab_to(page, '[data-test="pause"]')
    page.keyboard.press("Enter")
    status_is(page, "Paused")
    assert focused(page) == "resume"
    tab_to(page, "#notice-action")
    page.keyboard.press("Enter")
    status_is(page, "Connected")
    assert focused(page) == "notice-close"

    tab_to(page, '[data-test="disconnect"]')
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    assert focused(page) == "disconnect"
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    tab_to(page, '[data-test="confirm-disconnect"]')
    page.keyboard.press("Enter")
    page.wait_for_selector('[data-test="connect-dexcom"]')
    assert focused(page) == "connections-title"
    assert walker.console == []


@pytest.mark.parametrize("width", [390, 1280])
def test_another_person_is_chosen_without_a_mouse(demo: Demo, open_page: Open, width: int) -> None:
    walker = open_page("Kim", viewport={"width": width, "height": 844})
    page = walker.page
    demo.command("person", "add", "Robin", "--owner", walker.owner)
    page.reload()
    page.wait_for_selector('[data-test="connect-dexcom"]')
    before = page.text_content("#person-title")

    tab_to(page, "#person-picker")
    page.keyboard.press("ArrowDown" if page.evaluate("document.activeElement.selectedIndex") == 0 else "ArrowUp")

    until(lambda: page.text_content("#person-title") != before, "the other person is shown")
    page.wait_for_selector('[data-test="connect-dexcom"]')
    assert focused(page) == "person-picker"
    assert walker.console == []


def test_a_pause_says_what_it_means_and_can_be_taken_back(open_page: Open) -> None:
    page = connected(open_page()).page

    page.click('[data-test="pause"]')
    status_is(page, "Paused")

    assert "readings and access are kept" in page.inner_text('[data-test="notice"]')
    assert page.inner_text('[data-test="next-sync"]') == "not planned"
    assert page.is_hidden('[data-test="sync-now"]')
    page.click("#notice-action")
    status_is(page, "Connected")
    assert "goes on" in page.inner_text('[data-test="notice"]')


def test_an_expired_connection_reconnects_and_another_account_is_asked_about(demo: Demo, open_page: Open) -> None:
    walker = connected(open_page())
    page = walker.page
    expire(demo, walker.person_id)
    status_is(page, "Sign in again")
    assert page.is_hidden('[data-test="pause"]')
    assert page.is_hidden('[data-test="sync-now"]')

    page.click('[data-test="reconnect"]')
    page.wait_for_selector("text=Approve")
    page.click('input[value="User6"]')
    page.click('button[value="approve"]')
    page.wait_for_selector('[data-test="notice"] >> text=/another account/')
    status_is(page, "Sign in again")
    page.click("text=Use this account from now on")

    page.wait_for_selector('[data-test="notice"] >> text=/readings are coming in/')
    status_is(page, "Connected")
    assert "attempt" not in page.url


def test_the_unit_is_remembered_and_reaches_number_summary_and_key(open_page: Open) -> None:
    page = connected(open_page()).page
    in_mg = float(page.inner_text("#summary-average"))

    page.click('[data-test="unit-mmol"]')
    assert is_near(page.inner_text("#summary-average"), in_mg / 18.01559)
    assert "." in page.inner_text("#summary-highest")
    assert "mmol/L" in (page.get_attribute("#chart", "aria-label") or "")
    assert page.inner_text("#key-target") == "Target 3.9–10.0 mmol/L"
    page.reload()
    page.wait_for_selector('[data-test="unit-mmol"][aria-pressed="true"]')
    until(lambda: is_near(page.inner_text("#summary-average"), in_mg / 18.01559), "the unit is still mmol/L")
    until(lambda: "mmol/L" in page.inner_text("#current-unit"), "the value is in mmol/L")


def is_near(text: str, number: float) -> bool:
    """As it was, but for rounding and for a reading that has left the last 24 hours since."""
    return text != "" and abs(float(text) - number) < 0.2


def test_the_history_says_what_each_sync_brought(open_page: Open) -> None:
    page = connected(open_page()).page

    page.click('[data-test="sync-history"] summary')

    line = '[data-test="sync-history"] li[data-outcome="succeeded"]'
    until(lambda: page.locator(line).count() > 0, "a sync has ended")
    until(lambda: "after connecting" in page.locator(line).last.inner_text(), "the first one says why it was")
    assert " new" in page.locator(line).last.inner_text()


def test_a_sync_that_runs_shows_how_far_it_is(demo: Demo, open_page: Open) -> None:
    walker = connected(open_page())
    page = walker.page
    running = {"state": "running", "outcome": None, "fetched": 1440, "took_ms": None, "finished_at": None}

    def as_if_running(route: Route) -> None:
        answer = route.fetch()
        syncs = answer.json()["syncs"]
        route.fulfill(response=answer, json={"syncs": [{**syncs[0], **running}, *syncs[1:]]})

    page.route("**/syncs?*", as_if_running)
    look(page)

    page.wait_for_selector('[data-test="sync-progress"] >> text="Fetching: 1,440 readings so far…"')
    assert page.is_disabled('[data-test="sync-now"]')
    page.unroute("**/syncs?*")
    look(page)
    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")


def test_times_are_the_browsers_and_say_so(open_page: Open) -> None:
    page = open_page(timezone_id="Asia/Tokyo").page

    assert page.inner_text('[data-test="time-zone"]') == "Asia/Tokyo (GMT+9)"


def test_hostile_text_is_text(demo: Demo, open_page: Open) -> None:
    walker = open_page(HOSTILE)
    page = walker.page
    second = json.loads(demo.command("person", "add", HOSTILE, "--owner", walker.owner).stdout)
    page.reload()
    page.wait_for_selector('[data-test="person-picker"]')
    assert second["id"] in {
        page.get_attribute(f"#person-picker option:nth-child({place})", "value") for place in (1, 2)
    }
    connected(walker)

    def from_a_hostile_vendor(route: Route) -> None:
        answer = route.fetch()
        found = [
            {**one, "status": "error", "message": HOSTILE, "device_id": HOSTILE} for one in answer.json()["connections"]
        ]
        route.fulfill(response=answer, json={"connections": found})

    page.route("**/connections?*", from_a_hostile_vendor)
    look(page)

    until(lambda: page.inner_text('[data-part="device"]') == HOSTILE, "the device is shown as text")
    assert page.inner_text('[data-part="message"]') == HOSTILE
    assert HOSTILE in (page.text_content("#person-title") or "")
    assert page.locator('img[src="x"]').count() == 0
    assert page.title() != "broken"


def test_long_words_from_outside_stay_within_a_phone(demo: Demo, open_page: Open) -> None:
    walker = open_page("L" * 80, viewport={"width": 390, "height": 844})
    page = connected(walker).page
    demo.command("person", "add", "N" * 80, "--owner", walker.owner)
    long = {"detail": "E" * 300}
    page.route("**/cgm/sync", lambda route: route.fulfill(status=503, json=long))
    page.route("**/sign-out", lambda route: route.fulfill(status=503, json=long))
    page.route(re.compile("/connections/[^/]+$"), lambda route: route.fulfill(status=503, json=long))
    page.reload()
    page.wait_for_selector('[data-test="connection"]')
    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")

    with answering(page, "**/connections?*", each_connection(status="error", message="M" * 300, device_id="D" * 300)):
        page.wait_for_selector('[data-part="message"] >> text=MMMM')
        page.click('[data-test="sync-now"]')
        page.wait_for_selector('[data-test="sync-hint"] >> text=EEEE')
        page.click("#sign-out")
        page.wait_for_selector('[data-test="notice"] >> text=EEEE')
        page.click('[data-test="disconnect"]')
        page.click('[data-test="confirm-disconnect"]')
        page.wait_for_selector("#disconnect-hint >> text=EEEE")

        width = "(selector) => document.querySelector(selector).scrollWidth"
        assert page.is_visible("#person-picker")
        assert page.evaluate(width, "html") <= 390
        assert page.evaluate(width, "dialog") <= 390 - 32


def test_the_end_of_a_session_leaves_nothing_of_anybody_on_the_page(demo: Demo, open_page: Open) -> None:
    walker = open_page("Kim-Marlene")
    page = connected(walker).page
    demo.command("person", "add", "Robin-Marlene", "--owner", walker.owner)
    page.reload()
    page.wait_for_selector('[data-test="person-picker"]')
    page.select_option("#person-picker", walker.person_id)
    walker.wait_for_chart()
    assert page.title() == "Kim-Marlene · evercgm"
    page.click('[data-test="disconnect"]')

    page.context.clear_cookies()
    look(page)

    page.wait_for_selector('[data-test="sign-in"]')
    assert page.title() == "evercgm"
    assert "Marlene" not in page.content()
    assert page.text_content("#current-number") == "–"
    assert page.locator('#summary dd, [data-test="connection"], dialog[open]').all_text_contents() == [""] * 4
    assert page.get_attribute("#chart", "aria-label") == "Glucose chart"
    assert walker.chart_values() == []


def test_the_page_outlives_a_server_that_is_killed(demo: Demo, open_page: Open) -> None:
    walker = connected(open_page())
    page = walker.page
    before = child_of(demo, "serve")

    # Whoever starts the server again is held, so that the page surely meets nobody.
    demo.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(before, signal.SIGKILL)
        page.wait_for_selector('[data-test="offline"] >> text=/Offline, trying again/')
        assert int(page.get_attribute("#chart", "data-points") or 0) > 100
    finally:
        demo.process.send_signal(signal.SIGCONT)

    until(lambda: page.inner_text('[data-test="offline"]') == "", "the page found the server again")
    assert child_of(demo, "serve") != before
    expire(demo, walker.person_id)
    status_is(page, "Sign in again")


def test_a_first_look_that_fails_says_so_and_goes_on(open_page: Open) -> None:
    page = open_page().page
    page.route("**/connections?*", lambda route: route.fulfill(status=500, json={"detail": "no"}))

    page.reload()

    page.wait_for_selector('[data-test="offline"] >> text=/has trouble/')
    assert page.is_visible('[data-test="loading"]')
    page.unroute("**/connections?*")
    page.wait_for_selector('[data-test="connect-dexcom"]')


def test_the_first_load_is_small_and_asks_nobody_else(demo: Demo, browser: Browser) -> None:
    context = new_context(browser)
    walker = Walker(context, demo)
    asked: list[Request] = []
    finished: list[Request] = []
    walker.page.on("request", lambda request: asked.append(request))
    walker.page.on("requestfinished", lambda request: finished.append(request))

    walker.sign_in(new_owner(demo, "Kim")[2])
    walker.page.wait_for_selector('[data-test="connect-dexcom"]')
    walker.page.wait_for_load_state("load")

    # As the browser counts the bodies on the wire. The stream of events goes on, so it has no size yet.
    sizes = [(urlsplit(request.url).path, request.sizes()["responseBodySize"]) for request in finished]
    context.close()
    total = sum(size for _path, size in sizes)
    assert 0 < dict(sizes)[CHART_LIBRARY] < 73_000, f"half of it is not saved: {sizes}"
    assert total < FIRST_LOAD, f"{total} bytes: {sizes}"
    assert {urlsplit(request.url).netloc for request in asked} == {urlsplit(demo.url).netloc}


def test_axe_is_as_its_makers_published_it() -> None:
    written = AXE_FILE.with_suffix(".js.sha256").read_text(encoding="utf-8")

    assert written == f"{hashlib.sha256(AXE_FILE.read_bytes()).hexdigest()}  {AXE_FILE.name}\n"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_state_has_a_serious_finding_of_axe(demo: Demo, open_page: Open, scheme: str, width: int) -> None:
    walker = open_page("Kim", viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = walker.page
    findings = {"connect": serious(page)}
    connected(walker)
    page.click('[data-test="sync-history"] summary')
    findings["connected"] = serious(page)
    findings.update(serious_in_trouble(demo, page))
    page.click('[data-test="pause"]')
    status_is(page, "Paused")
    findings["paused"] = serious(page)
    page.click('[data-test="disconnect"]')
    findings["dialog"] = serious(page)
    page.keyboard.press("Escape")
    expire(demo, walker.person_id)
    status_is(page, "Sign in again")
    findings["expired"] = serious(page)
    page.click("#sign-out")
    page.wait_for_selector('[data-test="sign-in"]')
    findings["sign-in"] = serious(page)

    assert {state: found for state, found in findings.items() if found} == {}


def serious_in_trouble(demo: Demo, page: Page) -> dict[str, list[str]]:
    """What axe finds on the page of somebody connected while something is wrong."""
    findings = {}
    for state in ("delayed", "stale"):
        with answering(page, "**/connections?*", each_connection(status="error", freshness=state)):
            page.wait_for_selector(f'#current[data-state="{state}"]')
            findings[state] = serious(page)
    page.route("**/cgm/sync", lambda route: route.fulfill(status=503, json={"detail": "The vendor is away."}))
    page.click('[data-test="sync-now"]')
    page.wait_for_selector('[data-test="sync-hint"] >> text="The vendor is away."')
    page.context.set_offline(True)
    look(page)
    page.wait_for_selector('[data-test="offline"] >> text=/Offline/')
    findings["offline, with a hint"] = serious(page)
    page.context.set_offline(False)
    page.goto(f"{demo.url}/?cgm=error&code=bad_state")
    page.wait_for_selector('[data-test="notice"][data-kind="bad"]')
    page.wait_for_selector('[data-test="connection"]')
    findings["bad news"] = serious(page)
    page.route("**/session", lambda route: route.fulfill(json={"persons": []}))
    page.reload()
    page.wait_for_selector('[data-test="no-person"]')
    findings["nobody"] = serious(page)
    page.unroute("**/session")
    page.wait_for_selector('[data-test="connection"]')
    return findings


# Of the colours; what moves for as long as it is there is no transition.
FADED = """async () => {
  const fading = document.getAnimations().filter((one) => one instanceof CSSTransition);
  await Promise.allSettled(fading.map((one) => one.finished));
}"""


def serious(page: Page) -> list[str]:
    page.evaluate(FADED)
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert len(found["passes"]) > 10
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in grave for node in one["nodes"]]
