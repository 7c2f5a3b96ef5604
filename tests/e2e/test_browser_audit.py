"""Who did what, in a real Chromium: opened and read on by keyboard, kept up to date, of the chosen person alone."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from demo_process import Demo, until
from playwright.sync_api import Page
from series import sql
from test_browser import pytestmark
from test_browser_states import (
    HOSTILE,
    Open,
    Visitor,
    answering,
    browser,
    connected,
    focused,
    look,
    open_page,
    serious,
    status_is,
    tab_to,
)

__all__ = ["browser", "open_page", "pytestmark"]
LIST = '[data-test="audit-list"]'


def lines(page: Page) -> list[str]:
    """Sentence and by whom of each line that is shown, newest first."""
    return [
        " · ".join(item.locator("span").all_inner_texts()) for item in page.locator(f"{LIST} > li").all()
    ]  # fmt: skip


def opened(walker: Visitor) -> Page:
    walker.page.click("#audit-summary")
    walker.page.wait_for_selector(f"{LIST} > li")
    return walker.page


def add_events(demo: Demo, person_id: str, number: int) -> None:
    sql(
        demo,
        "insert into cgm_private.audit_events (actor, person_id, action, at)"
        " select 'service', %s, 'refresh_failed', now() - n * interval '1 hour' from generate_series(1, %s) n"
        " returning id",
        person_id,
        number,
    )


def test_what_was_done_is_read_by_keyboard_and_grows_while_it_is_open(demo: Demo, open_page: Open) -> None:
    walker = connected(open_page())
    page = walker.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/audit" in request.url else None)
    look(page)
    page.wait_for_selector('[data-test="sync-progress"]', state="hidden")
    before = list(asked)

    tab_to(page, "#audit-summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{LIST} > li")

    assert before == []
    assert lines(page) == [
        "A vendor account was connected. · You",
        "A link was made to sign in at this account. · The operator",
        "This person was added. · The operator",
    ]
    assert page.locator(f"{LIST} time").first.get_attribute("datetime") is not None
    page.click('[data-test="pause"]')
    status_is(page, "Paused")
    until(lambda: lines(page)[0] == "The connection was paused. · You", "the pause is told")
    assert len(lines(page)) == 4
    assert walker.console == []


def test_older_deeds_come_page_by_page_and_the_focus_stays_where_one_reads(demo: Demo, open_page: Open) -> None:
    walker = open_page()
    add_events(demo, walker.person_id, 48)
    page = opened(walker)
    assert len(lines(page)) == 20

    tab_to(page, '[data-test="audit-more"]')
    page.keyboard.press("Enter")
    until(lambda: len(lines(page)) == 40, "a second page")
    assert focused(page) == "audit-more"
    assert page.inner_text('[data-test="audit-hint"]') == "20 more are shown."
    look(page)
    page.keyboard.press("Enter")
    until(lambda: len(lines(page)) == 50, "the rest")

    assert page.inner_text('[data-test="audit-hint"]') == "That is all."
    assert page.locator('[data-test="audit-more"]').is_hidden()
    place = "[...document.activeElement.parentElement.children].indexOf(document.activeElement)"
    assert page.evaluate(place) == 40
    assert len(set(page.locator(f"{LIST} time").evaluate_all("all => all.map((one) => one.dateTime)"))) >= 49


def test_a_strangers_refusal_is_shown_without_a_name(demo: Demo, open_page: Open) -> None:
    walker = open_page()
    stranger = str(uuid.uuid4())
    jwt = json.loads(demo.command("sign-in", "--owner", stranger, "--json").stdout)["jwt"]
    with demo.api(jwt) as api:
        assert api.get("/readings", params={"person_id": walker.person_id}).status_code == 404

    page = walker.page
    page.click("#audit-summary")
    until(lambda: lines(page), "the list")

    told = "Somebody asked for data of this person and was refused. Nothing was shown. · Another account"
    until(lambda: look(page) or lines(page)[0] == told, "the refusal is told")
    assert stranger not in page.content()


def test_the_list_is_of_the_person_who_is_shown(demo: Demo, open_page: Open) -> None:
    walker = open_page("Kim")
    second = json.loads(demo.command("person", "add", "Sam", "--owner", walker.owner).stdout)["id"]
    walker.page.reload()
    page = opened(walker)
    first_lines = len(lines(page))

    page.select_option("#person-picker", second)

    until(lambda: lines(page) == ["This person was added. · The operator"], "the list of the other person")
    assert first_lines == 2
    page.click("#sign-out")
    page.wait_for_selector('[data-test="sign-in"]')
    assert "was added" not in (page.text_content("#audit") or "")


def test_text_that_claims_to_be_markup_is_shown_as_text(open_page: Open) -> None:
    walker = open_page()

    def hostile(answer: Any) -> Any:
        return {**answer, "events": [{**one, "message": HOSTILE, "by": HOSTILE} for one in answer["events"]]}

    with answering(walker.page, "**/audit?*", hostile):
        page = opened(walker)
        assert HOSTILE in lines(page)[0]
    assert page.locator('img[src="x"]').count() == 0


def test_a_list_that_cannot_be_had_says_so(open_page: Open) -> None:
    page = open_page().page
    page.route("**/audit?*", lambda route: route.fulfill(status=503, json={"detail": "The database is away."}))

    page.click("#audit-summary")

    page.wait_for_selector('[data-test="audit-hint"] >> text="The database is away."')


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_open_list_has_no_serious_finding_of_axe_and_fits(
    demo: Demo, open_page: Open, tmp_path: Path, scheme: str, width: int
) -> None:
    walker = open_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    add_events(demo, walker.person_id, 30)
    page = opened(walker)

    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator('[data-test="audit-more"]').bounding_box()["height"] >= 44  # type: ignore[index]
