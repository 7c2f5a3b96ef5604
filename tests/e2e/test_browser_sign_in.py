"""Signing in on the page without a vendor's consent page: by password, by what is pasted, for one of several people."""

from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from demo_process import Demo, until
from playwright.sync_api import Page
from series import sql
from test_browser import pytestmark
from test_browser_states import Open, browser, connected, open_page, serious, status_is

__all__ = ["browser", "open_page", "pytestmark"]
HINT = '[data-test="sign-in-hint"]'
DIALOG = '[data-test="sign-in-dialog"]'


def begin(page: Page, way: str) -> None:
    page.click(f'[data-test="{way}"]')
    page.wait_for_selector(f"{DIALOG}[open]")


def sign_in(page: Page, name: str, password: str, *, keep: bool = False) -> None:
    page.fill('[data-test="sign-in-name"]', name)
    page.fill('[data-test="sign-in-word"]', password)
    if keep:
        page.check('[data-test="sign-in-keep"]')
    page.click('[data-test="sign-in-yes"]')


def is_said(page: Page, text: str) -> None:
    page.wait_for_selector(f'[data-test="notice"] >> text=/{text}/')
    page.wait_for_selector(DIALOG, state="hidden")


def test_a_wrong_password_is_told_and_the_right_one_shows_the_present_value(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    page = visitor.page
    begin(page, "connect-libre")
    assert "may end this access" in page.inner_text(DIALOG)

    page.click('[data-test="sign-in-yes"]')
    page.wait_for_selector(f'{HINT} >> text="Type the user name first."')
    sign_in(page, "follower@example.com", "not the one")
    page.wait_for_selector(f"{HINT} >> text=/did not take this user name and password/")
    assert page.input_value('[data-test="sign-in-word"]') == ""
    assert page.input_value('[data-test="sign-in-name"]') == "follower@example.com"
    sign_in(page, "follower@example.com", "libre-demo-only", keep=True)

    is_said(page, "FreeStyle Libre .* is connected")
    status_is(page, "Connected")
    page.wait_for_selector('[data-test="current-value"][data-state="current"]')
    assert page.input_value('[data-test="sign-in-word"]') == ""
    kept = "select left(refresh_token, 3) from public.cgm_connections where provider = 'libre' and person_id = %s"
    assert sql(demo, kept, visitor.person_id) == [("v1.",)]


def test_of_two_people_the_person_says_who_it_is(demo: Demo, open_page: Open) -> None:
    visitor = open_page()
    page = visitor.page
    begin(page, "connect-libre")

    sign_in(page, "family@example.com", "libre-demo-only")

    page.wait_for_selector('[data-test="sign-in-choices"] input')
    choices = page.locator('[data-test="sign-in-choices"] label').all_inner_texts()
    assert [choice.split()[0] for choice in choices] == ["Alex", "Kim"]
    page.click('[data-test="sign-in-yes"]')
    page.wait_for_selector(f'{HINT} >> text="Choose one of them."')
    page.click('[data-test="sign-in-choices"] >> text=/Kim/')
    page.click('[data-test="sign-in-yes"]')
    is_said(page, "is connected")
    kept = "select refresh_token = '' from public.cgm_connections where provider = 'libre' and person_id = %s"
    assert sql(demo, kept, visitor.person_id) == [(True,)]


def test_share_joins_the_card_of_dexcom_and_is_taken_away_again(demo: Demo, open_page: Open) -> None:
    visitor = connected(open_page())
    page = visitor.page
    page.wait_for_selector('[data-test="routes"] >> text=/Dexcom Share/')

    begin(page, "add-dexcom_share")
    sign_in(page, "User7", "evercgm-demo-7")

    is_said(page, "Dexcom Share is connected")
    page.wait_for_selector('[data-test="routes"] >> text=/Newest/')
    of_share = "select count(*) > 200 from cgm_private.reading_details where person_id = %s and stream like %s"
    until(
        lambda: sql(demo, of_share, visitor.person_id, "dexcom/dexcom\\_share/%") == [(True,)], "Share's day is stored"
    )
    page.click('[data-test="remove-dexcom_share"]')
    page.wait_for_selector('[data-test="notice"] >> text=/is removed and its sign-in deleted/')
    page.wait_for_selector('[data-test="add-dexcom_share"]')
    status_is(page, "Connected")


def carelink_address(url: str) -> str:
    """What a person copies: where CareLink's login ends, signed in by a browser of theirs."""
    parts = urlsplit(url)
    form = {**dict(parse_qsl(parts.query)), "username": "follower.one", "password": "simulated", "captcha": "ticked"}
    with httpx2.Client(trust_env=False, timeout=30) as theirs:
        answer = theirs.post(
            f"{parts.scheme}://{parts.netloc}{parts.path}", data={**form, "decision": "approve"}, follow_redirects=False
        )
    return str(answer.headers["location"])


def test_carelink_is_connected_by_the_address_that_its_login_ends_at(open_page: Open) -> None:
    page = open_page().page
    begin(page, "connect-medtronic")
    page.click('[data-test="sign-in-open"]')
    page.wait_for_selector('[data-test="sign-in-link"]:visible')
    url = page.get_attribute('[data-test="sign-in-link"]', "href") or ""

    page.fill('[data-test="sign-in-pasted"]', "https://example.com/?code=1")
    page.click('[data-test="sign-in-yes"]')
    page.wait_for_selector(f"{HINT}:not(:empty)")
    page.fill('[data-test="sign-in-pasted"]', carelink_address(url))
    page.click('[data-test="sign-in-yes"]')

    is_said(page, "Medtronic CareLink is connected")
    status_is(page, "Connected")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("way", ["connect-libre", "connect-medtronic"])
def test_the_dialog_has_no_serious_finding_of_axe_and_fits(open_page: Open, scheme: str, width: int, way: str) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900}).page
    begin(page, way)

    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    focused = page.evaluate("document.activeElement.id")
    page.keyboard.press("Escape")
    page.wait_for_selector(DIALOG, state="hidden")
    assert focused in ("sign-in-name", "sign-in-region", "sign-in-open")
    assert page.evaluate("document.activeElement.dataset.test") == way
