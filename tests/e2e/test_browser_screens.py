"""A picture of every screen; kept in docs/screens only where UPDATE_SCREENS=1 asks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_process import Demo
from playwright.sync_api import Browser, Page, sync_playwright
from test_browser import CHROMIUM, Walker, new_owner, pytestmark
from test_browser_states import connected, expire, status_is

__all__ = ["pytestmark"]
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
# As the README and its readers know them: the page as it is most of the time.
README = {"desktop-light": "page-desktop.png", "phone-dark": "page-phone-dark.png"}
WIDTHS = {"desktop": (1280, 860), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return SCREENS if os.environ.get("UPDATE_SCREENS") == "1" else tmp_path


@pytest.mark.parametrize("device", sorted(WIDTHS))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_has_its_picture(demo: Demo, browser: Browser, folder: Path, device: str, scheme: str) -> None:
    width, height = WIDTHS[device]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    _owner, person_id, link = new_owner(demo, "Kim")
    walker = Walker(context, demo)
    page = walker.page

    def picture(screen: str) -> None:
        taken = _picture(page, folder / f"{screen}-{device}-{scheme}.png")
        assert taken > 8_000, screen

    page.goto(f"{demo.url}/")
    page.wait_for_selector('[data-test="sign-in"]')
    picture("sign-in")
    walker.sign_in(link)
    page.wait_for_selector('[data-test="connect-dexcom"]')
    picture("connect")
    connected(walker)
    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")
    page.click("#notice-close")
    if f"{device}-{scheme}" in README:
        _picture(page, folder / README[f"{device}-{scheme}"])
    page.click('[data-test="sync-history"] summary')
    picture("connected")
    page.click('[data-test="pause"]')
    status_is(page, "Paused")
    picture("paused")
    page.click('[data-test="disconnect"]')
    picture("disconnect")
    page.keyboard.press("Escape")
    page.click("#notice-close")
    expire(demo, person_id)
    status_is(page, "Sign in again")
    picture("expired")
    context.close()


def _picture(page: Page, path: Path) -> int:
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    whole = page.locator("dialog[open]").count() == 0
    return len(page.screenshot(path=str(path), full_page=whole, animations="disabled"))
