"""A consent that ends soon: the page says so at a connection that works, and Reconnect renews it."""

from demo_process import Demo
from series import sql
from test_browser import pytestmark
from test_browser_states import Open, browser, connected, look, open_page, status_is

__all__ = ["browser", "open_page", "pytestmark"]


def test_a_consent_that_ends_soon_is_told_and_renewed_by_reconnecting(demo: Demo, open_page: Open) -> None:
    walker = connected(open_page())
    page = walker.page
    assert page.is_hidden('[data-test="reconnect"]')

    sql(
        demo,
        "update cgm_private.sync_state set connected_at = now() - interval '340 days' where person_id = %s"
        " returning connection_id",
        walker.person_id,
    )

    look(page)
    page.wait_for_selector('[data-part="message"]:has-text("may end your consent on")')
    status_is(page, "Connected")
    assert page.is_visible('[data-test="sync-now"]')
    page.click('[data-test="reconnect"]')
    page.wait_for_selector("text=Approve")
    page.click('input[value="User7"]')
    page.click('button[value="approve"]')
    page.wait_for_selector('[data-test="notice"] >> text=/readings are coming in/')
    status_is(page, "Connected")
    assert page.is_hidden('[data-test="reconnect"]')
