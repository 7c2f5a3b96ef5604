"""Fourteen days on the chart in a real Chromium: panned and zoomed by pointer, finger, wheel, keys and buttons."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from demo_process import Demo, connect, passable_folder, start_demo, until
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright
from series import stored
from test_browser import CHROMIUM, new_context, pytestmark
from test_browser_states import serious, tab_to

__all__ = ["pytestmark"]
DAYS = 14
HOUR_S = 3600
SHORTEST_S = 1800
LONG_TASK_MS = 100
ROUNDS = 3
# Timestamps are written with one decimal; a window that follows the clock moves between two looks.
NEAR_S = 1
Open = Callable[..., Page]
Step = Callable[[Page], object]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A demo whose first person has a little more than fourteen days of readings, and a second one with none."""
    with passable_folder() as folder:
        started = start_demo(folder / "data", "--trace", str(_trace(folder)))
        person_id = str(started.line["persons"][0]["id"])
        connect(started, person_id)
        until(lambda: len(stored(started, person_id)) >= DAYS * 288, "fourteen days are stored")
        yield started
        started.stop()


def _trace(folder: Path) -> Path:
    """Every five minutes for fifteen days: up and down, now and then beyond what the sensor measures."""
    start = datetime(2024, 3, 1, tzinfo=UTC)
    rows = [
        f"{start + timedelta(minutes=5 * n):%Y-%m-%d %H:%M:%S},{39 if n % 900 < 6 else 60 + abs(n * 3 % 400 - 200)}"
        for n in range((DAYS + 1) * 288)
    ]
    trace = folder / "fortnight.csv"
    trace.write_text("local_time,glucose_mg_dl\n" + "\n".join(rows) + "\n")
    return trace


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture(scope="module")
def session(demo: Demo, browser: Browser) -> Any:
    """The cookie of the demo's owner: its sign-in link works only once."""
    context = new_context(browser)
    page = context.new_page()
    page.goto(str(demo.line["sign_in_url"]))
    page.click("form button")
    page.wait_for_url(f"{demo.url}/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_chart(demo: Demo, browser: Browser, session: Any) -> Iterator[Open]:
    """The first person's page with a range of the chart loaded."""
    contexts: list[BrowserContext] = []

    def opened(range_id: str = "14d", **options: Any) -> Page:
        wanted = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "timezone_id": "Europe/Berlin"}
        contexts.append(new_context(browser, storage_state=session, **{**wanted, **options}))
        page = contexts[-1].new_page()
        page.goto(f"{demo.url}/")
        choose(page, range_id)
        return page

    yield opened
    for context in contexts:
        context.close()


def choose(page: Page, range_id: str) -> None:
    page.click(f'[data-test="range-{range_id}"]')
    page.wait_for_selector(f'#chart[data-range="{range_id}"]')
    settle(page)


def settle(page: Page) -> None:
    """Two frames: what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def window(page: Page) -> tuple[float, float]:
    """The window that is shown, in seconds."""
    settle(page)
    shown = page.evaluate("({ ...document.querySelector('#chart').dataset })")
    return float(shown["from"]), float(shown["to"])


def is_zoomed(page: Page) -> bool:
    settle(page)
    return page.get_attribute("#chart", "data-zoomed") == "true"


def length(shown: tuple[float, float]) -> float:
    return shown[1] - shown[0]


def is_whole(page: Page, hours: int) -> bool:
    return not is_zoomed(page) and abs(length(window(page)) - hours * HOUR_S) <= NEAR_S


def press(page: Page, *keys: str) -> tuple[float, float]:
    page.focus("#chart")
    for key in keys:
        page.keyboard.press(key)
    return window(page)


def look_again(page: Page) -> None:
    """What the page does by itself now and then, at once."""
    with page.expect_response("**/connections?*"):
        page.evaluate("dispatchEvent(new Event('online'))")
    settle(page)


def plot_box(page: Page) -> dict[str, float]:
    box = page.locator("#chart .u-over").bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def middle(page: Page) -> tuple[float, float]:
    box = plot_box(page)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def wheel(page: Page, across: float, down: float, *, control: bool = False) -> None:
    page.mouse.move(*middle(page))
    if control:
        page.keyboard.down("Control")
    page.mouse.wheel(across, down)
    if control:
        page.keyboard.up("Control")
    settle(page)


def drag(page: Page, by: float, steps: int = 10) -> None:
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y, steps=steps)
    page.mouse.up()
    settle(page)


# --- fast ------------------------------------------------------------------------------------------

STEPS: dict[str, Step] = {
    "a key zooms in": lambda page: page.keyboard.press("+"),
    "the wheel zooms in": lambda page: wheel(page, 0, -60, control=True),
    "a drag of forty moves": lambda page: drag(page, 200, steps=40),
    "a drag back": lambda page: drag(page, -250, steps=40),
    "the wheel pans": lambda page: wheel(page, -80, 0),
    "a key pans": lambda page: page.keyboard.press("ArrowLeft"),
    "five keys at once": lambda page: press(page, *["ArrowRight"] * 5),
    "a button pans": lambda page: page.click('[data-test="chart-earlier"]'),
    "a button zooms out": lambda page: page.click('[data-test="chart-zoom-out"]'),
    "the wheel zooms out": lambda page: wheel(page, 0, 90, control=True),
    "to the oldest": lambda page: press(page, "Home"),
    "to the newest": lambda page: press(page, "End"),
    "to the shortest": lambda page: press(page, *["+"] * 10),
    "two clicks show all": lambda page: page.mouse.dblclick(*middle(page)),
}
WATCH = """
  window.longTasks = [];
  const note = (list) => list.getEntries().forEach((one) => window.longTasks.push([one.startTime, one.duration]));
  new PerformanceObserver(note).observe({ type: 'longtask', buffered: true });
"""


def longest_task(page: Page, step: Step) -> float:
    """The longest main-thread task (ms) from the beginning of a step until what it led to is drawn; 0 under 50 ms."""
    began = page.evaluate("performance.now()")
    step(page)
    settle(page)
    page.wait_for_timeout(60)
    tasks = page.evaluate("(began) => longTasks.filter(([at, took]) => at + took > began)", began)
    return max((float(took) for _at, took in tasks), default=0.0)


def test_fourteen_days_pan_and_zoom_without_a_long_task(open_chart: Open) -> None:
    page = open_chart("14d")
    assert int(page.get_attribute("#chart", "data-points") or 0) > (DAYS - 1) * 288
    page.evaluate(WATCH)
    seen: dict[str, list[float]] = {name: [] for name in STEPS}

    for _ in range(ROUNDS):
        page.focus("#chart")
        for name, step in STEPS.items():
            seen[name].append(longest_task(page, step))

    assert slow(seen) == {}


def slow(seen: dict[str, list[float]]) -> dict[str, list[float]]:
    """Other work on the machine can make one pass late; what our code makes long is long in most of them."""
    return {name: took for name, took in seen.items() if median(took) > LONG_TASK_MS}


def test_a_step_is_slow_that_is_long_in_two_passes_of_three() -> None:
    assert slow({"often": [30, 140, 160], "once": [160, 30, 40]}) == {"often": [30, 140, 160]}


def test_a_long_task_would_be_seen(open_chart: Open) -> None:
    page = open_chart("3h")
    page.evaluate(WATCH)
    busy = "() => { const end = performance.now() + 150; while (performance.now() < end); }"

    found = longest_task(page, lambda page: page.evaluate(f"setTimeout({busy})"))

    assert found > LONG_TASK_MS


# --- bounds ----------------------------------------------------------------------------------------


def test_a_window_stays_within_what_is_loaded_and_is_never_shorter_than_half_an_hour(open_chart: Open) -> None:
    page = open_chart("24h")
    began = window(page)

    shortest = press(page, *["+"] * 12)
    oldest = press(page, "-", "-", *["ArrowLeft"] * 60)
    at_home = press(page, "Home")
    drag(page, 300)
    dragged = window(page)
    newest = press(page, *["ArrowRight"] * 60)
    all_of_it = press(page, *["-"] * 8)

    assert length(shortest) == pytest.approx(SHORTEST_S, abs=NEAR_S)
    assert length(oldest) == pytest.approx(4 * SHORTEST_S, abs=NEAR_S)
    # The loaded range itself moves on with the clock.
    for shown in (oldest, at_home, dragged):
        assert began[0] - NEAR_S <= shown[0] <= all_of_it[0] + NEAR_S
    assert began[1] - NEAR_S <= newest[1] <= all_of_it[1] + NEAR_S
    assert abs(all_of_it[1] - page.evaluate("Date.now() / 1000")) < 20
    assert is_whole(page, 24)


MOVES = """async () => {
  const { fit, followed, panned, zoomed } = await import('/assets/pan_zoom.js');
  return Object.values({
    tooEarly: fit({ from: -50, to: 7150 }, { from: 0, to: 86400 }),
    tooLong: fit({ from: -50, to: 99999 }, { from: 0, to: 86400 }),
    tooShort: fit({ from: 100, to: 101 }, { from: 0, to: 86400 }),
    quarter: panned({ from: 4000, to: 8000 }, { from: 0, to: 86400 }, 0.25),
    aroundItsMiddle: zoomed({ from: 20000, to: 40000 }, { from: 0, to: 86400 }, 0.5, 0.5),
    allStaysAll: followed({ from: 0, to: 86400 }, { from: 0, to: 86400 }, { from: 60, to: 86460 }),
    nowStaysNow: followed({ from: 80000, to: 86400 }, { from: 0, to: 86400 }, { from: 60, to: 86460 }),
    pastStaysPut: followed({ from: 20000, to: 40000 }, { from: 0, to: 86400 }, { from: 60, to: 86460 }),
    oldestIsPushed: followed({ from: 0, to: 4000 }, { from: 0, to: 86400 }, { from: 60, to: 86460 }),
  }).map((view) => [view.from, view.to]);
}"""


def test_every_move_of_a_window_has_its_rule(open_chart: Open) -> None:
    assert open_chart("3h").evaluate(MOVES) == [
        [0, 7200],
        [0, 86400],
        [100, 1900],
        [5000, 9000],
        [25000, 35000],
        [60, 86460],
        [80060, 86460],
        [20000, 40000],
        [60, 4060],
    ]


# --- the page goes on living -----------------------------------------------------------------------


def test_a_window_in_the_past_outlives_a_refresh(open_chart: Open) -> None:
    page = open_chart("24h")
    before = press(page, "+", "+", "ArrowLeft", "ArrowLeft")

    look_again(page)
    look_again(page)

    assert window(page) == before
    assert is_zoomed(page)


def test_a_window_that_ends_now_follows_now(open_chart: Open) -> None:
    page = open_chart("24h")
    before = press(page, "+", "+")

    def moved_on() -> bool:
        look_again(page)
        return window(page)[1] > before[1] + 1

    until(moved_on, "the window moved on")
    assert length(window(page)) == pytest.approx(6 * HOUR_S, abs=NEAR_S)


def test_another_range_or_person_is_seen_whole(demo: Demo, open_chart: Open) -> None:
    page = open_chart("24h")
    press(page, "+")
    assert is_zoomed(page)

    choose(page, "6h")
    assert is_whole(page, 6)
    press(page, "+")
    choose(page, "6h")
    assert is_whole(page, 6)
    press(page, "+")
    page.select_option("#person-picker", str(demo.line["persons"][1]["id"]))

    until(lambda: is_whole(page, 6), "the other person's chart is whole")


def test_the_summary_names_the_range_it_is_of(open_chart: Open) -> None:
    page = open_chart("24h")

    press(page, "+", "+", "ArrowLeft")

    assert page.inner_text("#summary-range") == "Last 24 h"
    assert "Glucose of the last 24 h" in (page.get_attribute("#chart", "aria-label") or "")
    choose(page, "6h")
    assert page.inner_text("#summary-range") == "Last 6 h"


KEEP_LABELS = """() => {
  window.labels = [];
  const fillText = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
    if (this.textAlign === 'center') labels.push([text, x + this.measureText(text).width / 2, this.canvas.width]);
    return fillText.call(this, text, x, ...rest);
  };
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_no_time_under_the_chart_is_cut_off_by_its_edge(open_chart: Open, width: int) -> None:
    page = open_chart("24h", viewport={"width": width, "height": 900}, locale="en-US")
    page.evaluate(KEEP_LABELS)

    press(page, "+", "ArrowLeft")
    drag(page, plot_box(page)["width"] / 2.2, steps=60)

    drawn = page.evaluate("labels")
    assert len({text for text, _end, _edge in drawn}) > 3
    assert {text for text, end, edge in drawn if end > edge} == set()


# --- mouse, wheel, keys, buttons, fingers ----------------------------------------------------------


def test_the_wheel_zooms_with_ctrl_pans_sideways_and_else_scrolls_the_page(open_chart: Open) -> None:
    page = open_chart("14d", viewport={"width": 1280, "height": 600})

    wheel(page, 0, -100, control=True)
    closer = window(page)
    wheel(page, -100, 0)
    earlier = window(page)
    wheel(page, 0, 120)

    until(lambda: page.evaluate("scrollY") > 0, "the page scrolls")
    assert length(closer) < DAYS * 24 * HOUR_S
    assert earlier[0] < closer[0]
    assert window(page) == earlier


def test_dragging_keeps_the_instant_under_the_pointer_and_two_clicks_show_all(open_chart: Open) -> None:
    page = open_chart("14d")
    before = press(page, "+", "+", "ArrowLeft")

    drag(page, 150)

    moved = length(before) * 150 / plot_box(page)["width"]
    assert window(page)[0] == pytest.approx(before[0] - moved, abs=length(before) * 0.01)
    page.mouse.dblclick(*middle(page))
    assert is_whole(page, DAYS * 24)


def test_keys_and_buttons_do_all_of_it_and_the_window_is_told(open_chart: Open) -> None:
    page = open_chart("24h")
    spoken = page.locator('[data-test="chart-spoken"]')

    tab_to(page, "#chart")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    by_key = window(page)
    words = r"\w{3} \d+, \d\d:\d\d to (\w{3} \d+, )?\d\d:\d\d: lowest \d+, highest \d+ mg/dL\."
    until(lambda: re.fullmatch(words, spoken.inner_text()), "the window is told")
    assert page.inner_text("#chart-readout") in spoken.inner_text()
    for name in ("earlier", "zoom-out", "zoom-in", "later", "whole"):
        tab_to(page, f'[data-test="chart-{name}"]')
        if name in ("earlier", "whole"):
            page.keyboard.press("Enter")
        if name == "earlier":
            by_button = window(page)

    assert by_button[0] == pytest.approx(by_key[0] - length(by_key) / 4, abs=20)
    assert is_whole(page, 24)
    assert page.evaluate("document.activeElement.dataset.test") == "chart-whole"
    until(lambda: spoken.inner_text().startswith("Whole range, "), "the whole range is told")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_zoomed_chart_has_no_serious_finding_of_axe_and_buttons_to_hit(
    open_chart: Open, width: int, scheme: str
) -> None:
    page = open_chart("24h", viewport={"width": width, "height": 844}, color_scheme=scheme)
    press(page, "+", "ArrowLeft")

    assert serious(page) == []
    assert min(_shorter_side(button) for button in page.locator("[data-move]").all()) >= 38
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_narrower_window_takes_the_chart_and_its_zoom_with_it(open_chart: Open) -> None:
    page = open_chart("24h")
    before = press(page, "+", "ArrowLeft")

    page.set_viewport_size({"width": 320, "height": 844})

    until(lambda: page.evaluate("document.documentElement.scrollWidth") <= 320, "nothing sticks out")
    assert plot_box(page)["width"] < 300
    assert window(page) == before


def _shorter_side(button: Locator) -> float:
    box = button.bounding_box()
    assert box is not None
    return min(box["width"], box["height"])


class Fingers:
    """Touches as the browser's own input gets them."""

    def __init__(self, page: Page):
        self.page = page
        self.devtools = page.context.new_cdp_session(page)

    def stroke(self, *paths: list[tuple[float, float]]) -> None:
        """Each finger follows its path; all paths have the same number of points."""
        for place, points in enumerate(zip(*paths, strict=True)):
            self._send("touchMove" if place else "touchStart", points)
            settle(self.page)
        self._send("touchEnd", ())
        settle(self.page)

    def _send(self, kind: str, points: tuple[tuple[float, float], ...]) -> None:
        touches = [{"x": x, "y": y, "id": place} for place, (x, y) in enumerate(points)]
        self.devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})


def test_fingers_pinch_drag_and_tap_twice_and_still_scroll_the_page(open_chart: Open) -> None:
    page = open_chart("24h", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.locator("#chart").scroll_into_view_if_needed()
    x, y = middle(page)
    fingers = Fingers(page)

    fingers.stroke([(x - 20 - 7 * n, y) for n in range(10)], [(x + 20 + 7 * n, y) for n in range(10)])
    pinched = window(page)
    fingers.stroke([(x + 9 * n, y) for n in range(10)])
    dragged = window(page)
    scrolled = page.evaluate("scrollY")
    fingers.stroke([(x, y - 12 * n) for n in range(10)])
    until(lambda: page.evaluate("scrollY") > scrolled + 50, "a finger that goes up scrolls the page")

    assert length(pinched) == pytest.approx(24 * HOUR_S * 40 / 166, rel=0.1)
    assert dragged[0] < pinched[0]
    assert length(dragged) == pytest.approx(length(pinched), abs=NEAR_S)
    assert window(page) == dragged
    x, y = middle(page)

    def tapped_twice() -> bool:
        """On a machine that is busy the second tap may come too late to be one."""
        page.touchscreen.tap(x, y)
        page.touchscreen.tap(x, y)
        return is_whole(page, 24)

    until(tapped_twice, "two taps show all")
