"""Connecting: a one-time hand-over in the right browser, and a callback that changes nothing by itself."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_world import BASE, ORIGIN, VENDOR, Owner, Run

from evercgm.runtime import Runtime
from evercgm.storage.identity import sign_in_link, use_link

BEGIN = f"{BASE}/dexcom/oauth"
CALLBACK = f"{BASE}/dexcom/callback"
CONFIRM = f"{BASE}/dexcom/confirm"


async def begin(client: httpx2.AsyncClient, owner: Owner, **body: Any) -> str:
    answer = await client.post(BEGIN, json={"region": "us", **body}, headers=owner.bearer)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_at"].endswith("Z")
    url = str(answer.json()["authorization_url"])
    assert url.startswith(f"{ORIGIN}/connect/")
    return url


async def sign_in(browser: httpx2.AsyncClient, runtime: Runtime, owner: Owner) -> None:
    browser.cookies.set("evercgm_session", await use_link(runtime.db, await sign_in_link(runtime.db, owner.owner_id)))


def state_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{VENDOR}/login?")
    return str(httpx2.URL(answer.headers["location"]).params["state"])


def outcome_of(answer: httpx2.Response) -> tuple[str, str | None]:
    assert answer.status_code == 303
    query = httpx2.URL(answer.headers["location"]).params
    return query["cgm"], query.get("code")


async def connections_of(client: httpx2.AsyncClient, owner: Owner) -> list[str]:
    found = (await client.get(f"{BASE}/connections", headers=owner.bearer)).json()["connections"]
    return [item["status"] for item in found]


async def test_the_owners_own_browser_goes_on_at_once(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner
) -> None:
    await sign_in(browser, runtime, ada)

    answer = await browser.get(await begin(client, ada))
    back = await browser.get(CALLBACK, params={"state": state_of(answer), "code": "c"})

    cookie = answer.headers["set-cookie"]
    assert f"Path={CALLBACK}" in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert outcome_of(back) == ("connected", None)
    assert back.headers["location"].startswith(f"{ORIGIN}/?")
    assert await connections_of(client, ada) == ["connected"]


async def test_another_browser_sees_whom_it_would_connect_and_clicks(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, bob: Owner
) -> None:
    url = await begin(client, bob)

    page = await browser.get(url)
    again = await browser.get(url)
    click = await browser.post(url, headers={"Origin": ORIGIN})
    back = await browser.get(CALLBACK, params={"state": state_of(click), "code": "c"})

    assert page.text == again.text
    assert "Bob &lt;b&gt;" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert outcome_of(back) == ("connected", None)


async def test_a_hand_over_works_once(client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner) -> None:
    url = await begin(client, ada)
    await browser.post(url)

    assert ((await browser.post(url)).status_code, (await browser.get(url)).status_code) == (404, 404)


async def test_of_many_sign_ins_that_were_begun_and_left_only_the_newest_live_on(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    pages = [await begin(client, ada) for _ in range(23)]

    alive = [(await browser.get(page)).status_code for page in pages]

    assert alive == [404] * 3 + [200] * 20


async def test_another_sites_form_cannot_use_a_hand_over(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    url = await begin(client, ada)

    assert (await browser.post(url, headers={"Origin": "http://evil.test"})).status_code == 403
    assert (await browser.post(url)).status_code == 303


async def test_a_callback_in_another_browser_changes_nothing(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    state = state_of(await browser.post(await begin(client, ada)))

    elsewhere = await client.get(CALLBACK, params={"state": state, "code": "c"})

    assert outcome_of(elsewhere) == ("error", "bad_state")
    assert await connections_of(client, ada) == []


async def test_a_callback_in_another_owners_session_changes_nothing(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, bob: Owner
) -> None:
    state = state_of(await browser.post(await begin(client, ada)))
    await sign_in(browser, runtime, bob)

    back = await browser.get(CALLBACK, params={"state": state, "code": "c"})

    assert outcome_of(back) == ("error", "bad_state")
    assert (await connections_of(client, ada), await connections_of(client, bob)) == ([], [])


@pytest.mark.parametrize(
    "query",
    ["", "state=", "state=x&code=y", "state=%00&code=y", f"state={'s' * 5000}", "error=access_denied", "state=%ff"],
)
async def test_a_callback_without_a_live_state_changes_nothing(
    client: httpx2.AsyncClient, ada: Owner, query: str
) -> None:
    back = await client.get(f"{CALLBACK}?{query}")

    assert outcome_of(back) == ("error", "bad_state")
    assert f"{ORIGIN}/?cgm=error&code=bad_state" == back.headers["location"]
    assert await connections_of(client, ada) == []


async def test_a_used_state_changes_nothing(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    state = state_of(await browser.post(await begin(client, ada)))
    binding = browser.cookies["evercgm_binding"]
    await browser.get(CALLBACK, params={"state": state, "code": "c"})

    browser.cookies.set("evercgm_binding", binding)
    again = await browser.get(CALLBACK, params={"state": state, "code": "c"})

    assert outcome_of(again) == ("error", "bad_state")


async def test_a_no_at_the_vendor_is_told_in_our_words(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    url = await begin(client, ada, return_to=f"{ORIGIN}/page?a=1&code=old#part")
    query = {"state": state_of(await browser.post(url)), "error": "access_denied", "error_description": "marked"}

    back = await browser.get(CALLBACK, params=query)

    assert f"{ORIGIN}/page?a=1&cgm=denied&code=denied" == back.headers["location"]
    assert await connections_of(client, ada) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.test/",
        "http://cgm.test.evil.test/",
        "http://cgm.test@evil.test/",
        "http://evil.test\\@cgm.test/",
        "https://cgm.test/",
        "http://cgm.test:8080/",
        "//cgm.test/",
        "/relative",
        "javascript:alert(1)",
        "http://cgm.test/\r\nSet-Cookie:a=b",
        "",
    ],
)
async def test_the_way_back_leads_to_an_allowed_origin_only(
    client: httpx2.AsyncClient, ada: Owner, address: str
) -> None:
    answer = await client.post(BEGIN, json={"region": "us", "return_to": address}, headers=ada.bearer)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "return_to")


async def test_a_region_that_is_not_configured_is_named(client: httpx2.AsyncClient, ada: Owner) -> None:
    answer = await client.post(BEGIN, json={"region": "eu"}, headers=ada.bearer)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "region")


CALLBACK_OUTCOMES = {
    "success": ("connected", None),
    "declined": ("denied", "denied"),
    "declined, state absent": ("error", "bad_state"),
    "state altered": ("error", "bad_state"),
    "nothing": ("error", "bad_state"),
    "both": ("denied", "denied"),
}
FIXTURES = Path(__file__).parents[1] / "providers/dexcom/fixtures"


@pytest.mark.parametrize(
    "case", json.loads((FIXTURES / "oauth_callbacks.json").read_text()), ids=lambda case: case["case"]
)
async def test_each_way_back_from_the_vendor_connects_only_with_a_consent(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, case: dict[str, str]
) -> None:
    state = state_of(await browser.post(await begin(client, ada)))
    expected = CALLBACK_OUTCOMES[case["case"]]

    back = await browser.get(f"{CALLBACK}?{case['query'].replace('state=S1', f'state={state}')}")

    assert outcome_of(back) == expected
    assert await connections_of(client, ada) == (["connected"] if expected[0] == "connected" else [])


async def consent(client: httpx2.AsyncClient, browser: httpx2.AsyncClient, owner: Owner, **body: Any) -> Any:
    """The whole way of one browser; where it ends."""
    state = state_of(await browser.post(await begin(client, owner, **body)))
    return await browser.get(CALLBACK, params={"state": state, "code": "c"})


async def waiting(client: httpx2.AsyncClient, browser: httpx2.AsyncClient, owner: Owner, admin: Run) -> str:
    """A connection, and a consent with another vendor account; the attempt to confirm."""
    await consent(client, browser, owner)
    await admin("update cgm_private.sync_state set vendor_account_id = 'earlier'")
    back = await consent(client, browser, owner, return_to=f"{ORIGIN}/?person=1&attempt=old")
    query = httpx2.URL(back.headers["location"]).params
    assert dict(query) == {"person": "1", "cgm": "confirm", "attempt": query["attempt"]}
    assert query["attempt"] != "old"
    return str(query["attempt"])


async def test_another_account_is_used_after_a_yes_and_only_once(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    attempt = await waiting(client, browser, ada, admin)

    yes = await client.post(CONFIRM, json={"attempt": attempt}, headers=ada.bearer)
    again = await client.post(CONFIRM, json={"attempt": attempt}, headers=ada.bearer)

    found = (await client.get(f"{BASE}/connections", headers=ada.bearer)).json()["connections"]
    assert (yes.status_code, yes.json()) == (200, {"connection_id": found[0]["id"]})
    assert again.status_code == 404
    assert "older than ten minutes" in again.json()["detail"]


async def test_another_owners_attempt_and_an_unknown_one_are_the_same_404(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    attempt = await waiting(client, browser, ada, admin)

    foreign = await client.post(CONFIRM, json={"attempt": attempt}, headers=bob.bearer)
    unknown = await client.post(CONFIRM, json={"attempt": "unknown"}, headers=bob.bearer)

    told = [{**answer.json(), "request_id": None} for answer in (foreign, unknown)]
    assert (foreign.status_code, told[0]) == (404, told[1])
    assert (await client.post(CONFIRM, json={"attempt": attempt}, headers=ada.bearer)).status_code == 200


async def test_an_attempt_of_more_than_ten_minutes_is_over(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    attempt = await waiting(client, browser, ada, admin)
    await admin("update cgm_private.oauth_attempts set expires_at = expires_at - interval '10 minutes'")

    late = await client.post(CONFIRM, json={"attempt": attempt}, headers=ada.bearer)

    assert (late.status_code, late.json()["code"]) == (404, "not_found")


async def test_a_yes_by_cookie_comes_from_our_own_page(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run
) -> None:
    attempt = await waiting(client, browser, ada, admin)
    await sign_in(browser, runtime, ada)

    elsewhere = await browser.post(CONFIRM, json={"attempt": attempt}, headers={"Origin": "http://evil.test"})
    nobody = await client.post(CONFIRM, json={"attempt": attempt})
    ours = await browser.post(CONFIRM, json={"attempt": attempt}, headers={"Origin": ORIGIN})

    assert (elsewhere.status_code, nobody.status_code, ours.status_code) == (403, 401, 200)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("medtronic/oauth", {"region": "eu"}, "region"),
        ("medtronic/callback", {"token_bundle": "{}"}, "provider"),
        ("libre/login", {"region": "world", "username": "a@example.com", "password": "p"}, "region"),
    ],
)
async def test_a_way_in_that_the_operator_has_not_turned_on_is_refused_by_its_field(
    client: httpx2.AsyncClient, ada: Owner, path: str, body: dict[str, str], field: str
) -> None:
    answer = await client.post(f"{BASE}/{path}", json=body, headers=ada.bearer)

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith(f"{field}: ")
