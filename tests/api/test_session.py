"""A sign-in link works once, by a click; a session is a cookie that only our own page may use for changes."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run

from evercgm.core.errors import BadInput, NotYours
from evercgm.runtime import Runtime
from evercgm.storage.identity import session_owner, sign_in_link, use_link

SIGN_OUT = f"{BASE}/session/sign-out"


async def test_looking_at_a_link_does_not_use_it_up(browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner) -> None:
    link = f"/sign-in/{await sign_in_link(runtime.db, ada.owner_id)}"

    looks = [await browser.get(link) for _ in range(3)]
    click = await browser.post(link, headers={"Origin": ORIGIN})

    assert [look.status_code for look in looks] == [200, 200, 200]
    assert f'<form method="post" action="{link}">' in looks[0].text
    assert "set-cookie" not in looks[0].headers
    assert (click.status_code, click.headers["location"]) == (303, "/")
    assert ada.owner_id == (await browser.get(f"{BASE}/session")).json()["owner_id"]


async def test_a_link_works_once(browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner) -> None:
    link = f"/sign-in/{await sign_in_link(runtime.db, ada.owner_id)}"
    await browser.post(link)

    again = await browser.post(link)

    assert again.status_code == 404
    assert "set-cookie" not in again.headers
    assert (await browser.get(link)).status_code == 404


async def test_of_many_clicks_at_once_one_wins(runtime: Runtime, ada: Owner) -> None:
    link = await sign_in_link(runtime.db, ada.owner_id)

    results = await asyncio.gather(*(use_link(runtime.db, link) for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, NotYours) for result in results) == 7


@pytest.mark.parametrize(("minutes", "status"), [(14, 303), (15, 404)])
async def test_a_link_lasts_fifteen_minutes(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run, minutes: int, status: int
) -> None:
    token = await sign_in_link(runtime.db, ada.owner_id)
    await admin("update cgm_private.sign_in_links set expires_at = expires_at - make_interval(mins => %s)", (minutes,))

    assert (await browser.post(f"/sign-in/{token}")).status_code == status


async def test_an_old_link_is_refused(browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run) -> None:
    token = await sign_in_link(runtime.db, ada.owner_id)
    await admin("update cgm_private.sign_in_links set expires_at = now() - interval '1 second'")

    assert (await browser.post(f"/sign-in/{token}")).status_code == 404


async def test_a_link_is_for_a_uuid(runtime: Runtime) -> None:
    with pytest.raises(BadInput):
        await sign_in_link(runtime.db, "ada")


async def sign_in(browser: httpx2.AsyncClient, runtime: Runtime, owner_id: str) -> httpx2.Response:
    return await browser.post(f"/sign-in/{await sign_in_link(runtime.db, owner_id)}")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner
) -> None:
    cookie = (await sign_in(browser, runtime, ada.owner_id)).headers["set-cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie


async def test_another_sites_form_signs_nobody_in(browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner) -> None:
    link = f"/sign-in/{await sign_in_link(runtime.db, ada.owner_id)}"

    for headers in ({"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await browser.post(link, headers=headers)).status_code == 403
    assert (await browser.post(link, headers={"Origin": ORIGIN})).status_code == 303


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.test", "http://cgm.test.evil.test", "https://cgm.test", "http://cgm.test:81"]
)
async def test_a_change_by_cookie_needs_our_own_origin(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, origin: str | None
) -> None:
    await sign_in(browser, runtime, ada.owner_id)
    headers = {} if origin is None else {"Origin": origin}

    answer = await browser.post(SIGN_OUT, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert (await browser.get(f"{BASE}/session")).status_code == 200


async def test_signing_out_ends_the_session_for_good(browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner) -> None:
    await sign_in(browser, runtime, ada.owner_id)
    token = browser.cookies["evercgm_session"]

    answer = await browser.post(SIGN_OUT, headers={"Origin": ORIGIN})

    assert answer.status_code == 204
    assert await session_owner(runtime.db, token) is None
    assert (await browser.get(f"{BASE}/session")).status_code == 401


async def test_a_session_moves_on_while_it_is_used_and_ends_when_not(runtime: Runtime, ada: Owner, admin: Run) -> None:
    used = await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id))
    await admin(
        "update cgm_private.sessions set last_seen_at = now() - interval '2 days',"
        " expires_at = now() + interval '1 minute'"
    )
    assert ada.owner_id == await session_owner(runtime.db, used)
    await admin("update cgm_private.sessions set expires_at = expires_at - interval '29 days'")
    assert ada.owner_id == await session_owner(runtime.db, used)
    await admin("update cgm_private.sessions set expires_at = expires_at - interval '2 days'")
    assert await session_owner(runtime.db, used) is None


async def test_no_token_stands_in_the_database(runtime: Runtime, database: Any) -> None:
    link = await sign_in_link(runtime.db, str(uuid4()))
    session = await use_link(runtime.db, link)

    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        found = ""
        for table in (b"sessions", b"sign_in_links", b"signing_keys"):
            rows = await (await conn.execute(b"select t::text from cgm_private." + table + b" t")).fetchall()
            found += str(rows)

    for secret in (link, session, link.encode().hex(), session.encode().hex(), "PRIVATE KEY"):
        assert secret not in found


async def test_links_and_sessions_are_stored_as_their_hash_and_the_signing_key_is_sealed(
    runtime: Runtime, database: Any
) -> None:
    link = await sign_in_link(runtime.db, str(uuid4()))
    session = await use_link(runtime.db, link)

    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        hashes = await (await conn.execute(
            b"select (select token_hash from cgm_private.sign_in_links), (select token_hash from cgm_private.sessions)"
        )).fetchone()  # fmt: skip
        keys = await (await conn.execute(b"select sealed_private from cgm_private.signing_keys")).fetchall()

    assert hashes == tuple(hashlib.sha256(token.encode()).digest() for token in (link, session))
    assert [key.split(".")[0] for (key,) in keys] == ["v1"]
