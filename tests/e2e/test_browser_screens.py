"""A picture of every screen; kept in docs/screens only where UPDATE_SCREENS=1 asks for it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from demo_process import Demo
from playwright.sync_api import Browser, Page, sync_playwright
from series import sql
from test_browser import CHROMIUM, Walker, new_context, new_owner, pytestmark
from test_browser_states import connected, expire, look, status_is

__all__ = ["pytestmark"]
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
# As the README and its readers know them: the page as it is most of the time.
README = {"desktop-light": "page-desktop.png", "phone-dark": "page-phone-dark.png"}
WIDTHS = {"desktop": (1280, 860), "phone": (390, 844)}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


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
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_screen_has_its_picture(demo: Demo, browser: Browser, folder: Path, device: str, scheme: Scheme) -> None:
    width, height = WIDTHS[device]
    context = new_context(browser, viewport={"width": width, "height": height}, color_scheme=scheme)
    owner, person_id, link = new_owner(demo, "Kim")
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
    _fill_a_fortnight(demo, person_id)
    for screen in ("7d", "14d"):
        _choose_range(page, screen)
        picture(screen)
    _choose_range(page, "24h")
    _trouble(page, picture)
    page.click('[data-test="sync-history"] summary')
    picture("connected")
    page.click("#audit-summary")
    page.wait_for_selector('[data-test="audit-list"] > li')
    picture("audit")
    page.click("#audit-summary")
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
    _several_persons(demo, page, owner, person_id)
    picture("persons")
    context.close()


def _fill_a_fortnight(demo: Demo, person_id: str) -> None:
    """The simulated account has six days: they are repeated before themselves."""
    sql(
        demo,
        'insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)'
        ' select gen_random_uuid()::text, r.person_id, r."timestamp" - n * whole.span, r.value, r.source,'
        "        r.cgm_connection_id"
        "   from public.glucose_readings r, generate_series(1, 2) n,"
        """        (select max("timestamp") - min("timestamp") + interval '5 minutes' as span"""
        "           from public.glucose_readings where person_id = %s) whole"
        "  where r.person_id = %s returning id",
        person_id, person_id,
    )  # fmt: skip


def _choose_range(page: Page, name: str) -> None:
    page.click(f'[data-test="range-{name}"]')
    page.wait_for_selector(f'#chart[data-range="{name}"]')


def _trouble(page: Page, picture: Callable[[str], None]) -> None:
    """The service answers only that it cannot; then it does not answer at all."""
    page.route("**/api/**", lambda route: route.fulfill(status=503, json={"detail": "no"}))
    look(page)
    page.wait_for_selector('[data-test="offline"] >> text=/has trouble/')
    picture("trouble")
    page.unroute("**/api/**")
    page.context.set_offline(True)
    look(page)
    page.wait_for_selector('[data-test="offline"] >> text=/Offline/')
    picture("offline")
    page.context.set_offline(False)
    look(page)
    page.wait_for_selector('[data-test="offline"]:empty', state="attached")


def _several_persons(demo: Demo, page: Page, owner: str, person_id: str) -> None:
    """The connection works again, and there is a second person with a long name."""
    sql(
        demo,
        "with mended as (update cgm_private.sync_state set reason = null, next_sync_at = now() + interval '4 minutes'"
        " where person_id = %s returning connection_id)"
        " update public.cgm_connections c set status = 'connected' from mended where c.id = mended.connection_id"
        " returning c.id",
        person_id,
    )
    demo.command("person", "add", "Alexandra-Theodora", "--owner", owner)
    page.evaluate("(id) => localStorage.setItem('evercgm.person', id)", person_id)
    page.reload()
    page.wait_for_selector('[data-test="person-picker"]')
    status_is(page, "Connected")


def _picture(page: Page, path: Path) -> int:
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    whole = page.locator("dialog[open]").count() == 0
    return len(page.screenshot(path=str(path), full_page=whole, animations="disabled"))
