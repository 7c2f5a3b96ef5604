"""Attacks through the browser: where it is sent in the end, whose form it is, what pages and cookies give away."""

import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from api_world import BASE, ORIGIN, Owner, Run, make_settings
from hypothesis import given
from hypothesis import strategies as st
from listener import listening
from test_connect import BEGIN, CALLBACK, begin, connections_of, consent, sign_in, state_of

from evercgm.api.app import create_app
from evercgm.api.origins import origin_of
from evercgm.runtime import Runtime
from evercgm.storage.identity import sign_in_link, use_link

HOSTILE_RETURNS = {
    "userinfo": "http://cgm.test@evil.test/",
    "userinfo with a password": "http://cgm.test:80@evil.test/",
    "userinfo of ours": "http://evil.test@cgm.test/",
    "backslash for a slash": "http:\\\\evil.test/",
    "backslash before userinfo": "http://evil.test\\@cgm.test/",
    "backslash after the host": "http://cgm.test\\.evil.test/",
    "one backslash": "http:/\\evil.test/",
    "two slashes": "//evil.test/",
    "two slashes and ours": "//cgm.test/",
    "three slashes": "http:///evil.test/",
    "no slash": "http:evil.test/",
    "two backslashes": "\\\\evil.test/",
    "a tab in the scheme": "ht\ttp://cgm.test/",
    "a tab in the host": "http://cgm.test\t.evil.test/",
    "a line in the host": "http://cgm.test\n.evil.test/",
    "a line and a header": "http://cgm.test/\r\nLocation: http://evil.test/",
    "NUL": "http://cgm.test\x00.evil.test/",
    "NUL, encoded": "http://cgm.test%00.evil.test/",
    "a blank before": " http://cgm.test/",
    "a blank in the host": "http://cgm.test .evil.test/",
    "DEL": "http://cgm.test\x7f/",
    "mixed case": "HtTp://EVIL.test/",
    "javascript": "javascript:alert(1)",
    "javascript in mixed case": "JaVaScRiPt://cgm.test/%0aalert(1)",
    "data": "data:text/html,<script>alert(1)</script>",
    "vbscript": "vbscript:msgbox(1)",
    "blob": "blob:http://cgm.test/x",
    "file": "file:///etc/passwd",
    "an app's scheme": "evil-app://cgm.test/",
    "IDN": "http://cgm.tеst/",
    "IDN, encoded": "http://cgm.xn--tst-qdd/",
    "a full-width dot": "http://cgm。test/",
    "a soft hyphen": "http://cgm\u00ad.test/",
    "a trailing dot": "http://cgm.test./",
    "an encoded host": "http://cgm%2etest/",
    "a port": "http://cgm.test:8080/",
    "two ports": "http://cgm.test:80:80/",
    "a port without end": "http://cgm.test:99999/",
    "a port that is no number": "http://cgm.test:80x/",
    "https where we are http": "https://cgm.test/",
    "our name before": "http://cgm.test.evil.test/",
    "our name behind": "http://evilcgm.test/",
    "our name in the path": "http://evil.test/cgm.test/",
    "our name in the query": "http://evil.test/?http://cgm.test/",
    "our name in the fragment": "http://evil.test/#@cgm.test/",
    "a path": "/readings",
    "a relative path": "readings",
    "nothing": "",
    "very long": "http://cgm.test/" + "a" * 2_000,
    "very long host": "http://" + "a." * 900 + "cgm.test/",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_RETURNS)
async def test_a_hostile_return_to_is_refused_by_name_and_opens_no_attempt(
    client: httpx2.AsyncClient, ada: Owner, name: str
) -> None:
    answer = await client.post(BEGIN, json={"region": "us", "return_to": HOSTILE_RETURNS[name]}, headers=ada.bearer)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "return_to")
    assert "authorization_url" not in answer.text
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://cgm.test", "http://cgm.test/?cgm=connected"),
        ("HTTP://CGM.test/a", "http://CGM.test/a?cgm=connected"),
        ("http://cgm.test:80/a", "http://cgm.test:80/a?cgm=connected"),
        ("http://cgm.test/a#@evil.test", "http://cgm.test/a?cgm=connected"),
        ("http://cgm.test#@evil.test/", "http://cgm.test/?cgm=connected"),
        ("http://cgm.test?@evil.test/", "http://cgm.test/?%40evil.test%2F=&cgm=connected"),
        ("http://cgm.test//evil.test/", "http://cgm.test//evil.test/?cgm=connected"),
        ("http://cgm.test/?next=http://evil.test/", "http://cgm.test/?next=http%3A%2F%2Fevil.test%2F&cgm=connected"),
        ("http://cgm.test/?cgm=denied&code=x&attempt=y", "http://cgm.test/?cgm=connected"),
    ],
)
async def test_an_odd_address_of_ours_leads_to_us_and_says_only_what_we_say(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, address: str, expected: str
) -> None:
    back = await consent(client, browser, ada, return_to=address)

    assert back.headers["location"] == expected


PIECES = st.sampled_from(
    [
        "http",
        "https",
        ":",
        "/",
        "//",
        "\\",
        "@",
        "cgm.test",
        "evil.test",
        ".",
        "#",
        "?",
        "%2f",
        "80",
        "\t",
        "é",
        "[",
        ";",
    ]
)


@given(
    st.lists(PIECES, max_size=8).map("".join) | st.lists(PIECES, max_size=5).map(lambda found: ORIGIN + "".join(found))
)
def test_no_address_of_another_host_has_our_origin(address: str) -> None:
    if origin_of(address) == ORIGIN:
        # By the letters alone, without a parser: our host stands first, and ends where a host must end.
        assert re.match(r"http://cgm\.test(:(80)?)?([/?#]|$)", address, re.IGNORECASE)


async def test_nobody_fetches_a_return_to(runtime: Runtime, ada: Owner) -> None:
    async with listening() as app_of_the_caller:
        settings = make_settings(EVERCGM_RETURN_ORIGINS=f"{ORIGIN},{app_of_the_caller.address}")
        app = create_app(replace(runtime, settings=settings))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
            address = f"{app_of_the_caller.address}/done"
            back = await consent(client, client, ada, return_to=address)

        assert back.headers["location"] == f"{address}?cgm=connected"
        assert app_of_the_caller.callers == 0


FOREIGN_FORMS = [
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "https://cgm.test"},
    {"Origin": "http://cgm.test:8080"},
    {"Origin": "http://cgm.test.evil.test"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN_FORMS, ids=str)
async def test_a_foreign_form_uses_no_hand_over_up(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, headers: dict[str, str]
) -> None:
    url = await begin(client, ada)

    refused = await browser.post(url, headers=headers)

    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    assert state_of(await browser.post(url, headers={"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}))


async def test_looking_at_a_hand_over_however_often_does_not_use_it_up(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, bob: Owner
) -> None:
    url = await begin(client, bob)

    looks = [await browser.request(method, url) for method in ("GET", "GET", "HEAD", "OPTIONS")]

    assert not any("set-cookie" in look.headers for look in looks)
    assert state_of(await browser.post(url))


async def test_a_stranger_who_is_signed_in_here_goes_nowhere_without_a_click(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, bob: Owner
) -> None:
    await sign_in(browser, runtime, ada)

    page = await browser.get(await begin(client, bob))

    assert (page.status_code, "location" in page.headers, "set-cookie" in page.headers) == (200, False, False)
    assert "Bob &lt;b&gt;" in page.text


async def test_a_hand_over_of_ten_minutes_ago_is_over(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    url = await begin(client, ada)
    await admin("update cgm_private.oauth_attempts set expires_at = expires_at - interval '10 minutes'")

    answers = [await browser.get(url), await browser.post(url)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert await connections_of(client, ada) == []


def links_of(page: str) -> list[str]:
    """All that a page loads or leads to."""
    return re.findall(r"""(?:src|href|action|srcset|data|poster)\s*=\s*["']?([^"' >]+)""", page)


def is_guarded(answer: httpx2.Response, referrer: str) -> None:
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == referrer
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert policy.endswith("frame-ancestors 'none'")
    for link in links_of(answer.text):
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc) == ("", ""), link
    assert "<script" not in answer.text


async def test_callback_hand_over_and_sign_in_pages_are_not_stored_not_told_of_and_load_nothing_foreign(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, runtime: Runtime, bob: Owner
) -> None:
    url = await begin(client, bob)
    page = await browser.get(url)
    click = await browser.post(url)
    used = await browser.post(url)
    back = await browser.get(CALLBACK, params={"state": state_of(click), "code": "c"})
    refused = await browser.get(CALLBACK)
    link = f"/sign-in/{await sign_in_link(runtime.db, bob.owner_id)}"
    sign_in_page = await browser.get(link)
    signed_in = await browser.post(link)
    sorry = await browser.get(link)

    # A form page tells its address to our own origin alone: with "no-referrer" its form's Origin would be "null".
    for answer in (page, used, sign_in_page, sorry):
        is_guarded(answer, "same-origin")
        assert links_of(answer.text)
    for answer in (click, back, refused, signed_in):
        is_guarded(answer, "no-referrer")
        assert (answer.status_code, answer.content) == (303, b"")


def flags(answer: httpx2.Response) -> set[str]:
    """The attributes of a cookie, in small letters."""
    return {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}


@pytest.mark.parametrize("public_url", ["http://cgm.test", "https://cgm.test"])
async def test_every_cookie_is_out_of_reach_of_scripts_and_travels_by_tls_where_we_are_reached_by_it(
    runtime: Runtime, ada: Owner, public_url: str
) -> None:
    app = create_app(replace(runtime, settings=make_settings(EVERCGM_PUBLIC_URL=public_url)))
    origin = {"Origin": public_url}

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=public_url) as client:
        answer = await client.post(BEGIN, json={"region": "us"}, headers=ada.bearer)
        bound = await client.post(answer.json()["authorization_url"], headers=origin)
        freed = await client.get(CALLBACK, params={"state": state_of(bound), "code": "c"})
        signed_in = await client.post(f"/sign-in/{await sign_in_link(runtime.db, ada.owner_id)}", headers=origin)
        moved_on = await client.get(f"{BASE}/session")
        signed_out = await client.post(f"{BASE}/session/sign-out", headers=origin)

    for answer in (bound, freed, signed_in, moved_on, signed_out):
        found = flags(answer)
        assert {"httponly", "samesite=lax"} <= found
        assert ("secure" in found) == public_url.startswith("https")
        assert not any(flag.startswith("domain") for flag in found)
    assert {f"path={CALLBACK}", "max-age=600"} <= flags(bound)
    assert {f"path={CALLBACK}", "max-age=0"} <= flags(freed)


async def test_no_answer_of_the_whole_way_holds_a_code_a_token_or_a_vendors_text(
    client: httpx2.AsyncClient, browser: httpx2.AsyncClient, ada: Owner
) -> None:
    click = await browser.post(await begin(client, ada))
    query: dict[str, Any] = {"state": state_of(click), "code": "marked-code", "error_description": "marked-words"}

    back = await browser.get(CALLBACK, params=query)

    assert back.headers["location"] == f"{ORIGIN}/?cgm=connected"
    assert "marked" not in str(back.headers) + back.text


async def test_a_session_of_before_signing_in_is_not_taken_over(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, bob: Owner
) -> None:
    planted = await use_link(runtime.db, await sign_in_link(runtime.db, bob.owner_id))
    browser.cookies.set("evercgm_session", planted)

    answer = await browser.post(f"/sign-in/{await sign_in_link(runtime.db, ada.owner_id)}")

    assert answer.cookies["evercgm_session"] != planted
