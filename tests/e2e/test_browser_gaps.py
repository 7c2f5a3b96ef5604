"""Where readings are missing the page says why: hatched in the chart, under the pointer, and as a list."""

from collections.abc import Iterator

import pytest
from demo_process import Demo
from playwright.sync_api import Browser, Page, sync_playwright
from series import sql
from test_browser import CHROMIUM, Walker, new_context, new_owner, pytestmark
from test_browser_states import connected, expire, look, serious

__all__ = ["pytestmark"]
CUT = """delete from glucose_readings where person_id = %s
         and "timestamp" > (now() - %s::interval) at time zone 'UTC'
         and "timestamp" < (now() - %s::interval) at time zone 'UTC' returning id"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


# In one look, since the next sync may change both.
HATCHED_AND_LISTED = """() => [
    Number(document.querySelector('[data-test="chart"]').dataset.missing),
    document.querySelectorAll('[data-test="gaps-list"] li').length,
]"""


def missing(page: Page) -> list[str]:
    return page.locator('[data-test="gaps-list"] li small').all_inner_texts()


def test_each_stretch_without_readings_has_its_reason_in_words(demo: Demo, browser: Browser) -> None:
    _, person_id, link = new_owner(demo, "Kim")
    walker = Walker(new_context(browser, viewport={"width": 1280, "height": 860}), demo)
    page = walker.page
    walker.sign_in(link)
    connected(walker)
    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")
    sql(demo, CUT, person_id, "12 hours", "9 hours")
    look(page)

    # The trace has gaps of its own: the one that was cut is the only one of hours.
    page.wait_for_selector('[data-test="gaps-list"] >> text=/[23] h/', state="attached")
    page.click("#gaps-summary")

    assert any(text.startswith("The vendor has nothing for this time") for text in missing(page))
    hatched, listed = page.evaluate(HATCHED_AND_LISTED)
    assert hatched == listed >= 1
    area = page.locator(".chart .u-over").bounding_box()
    assert area is not None
    # Ten and a half hours of twenty-four before the right edge.
    page.mouse.move(area["x"] + area["width"] * (1 - 10.5 / 24), area["y"] + area["height"] / 2)
    page.wait_for_selector('[data-test="readout"] >> text=/no sensor or signal/')
    assert serious(page) == []

    expire(demo, person_id)
    sql(demo, CUT, person_id, "1 hour", "0")
    look(page)

    page.wait_for_selector('[data-test="gaps-list"] >> text=/Our access had ended/')
