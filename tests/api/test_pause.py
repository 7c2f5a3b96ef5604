"""A paused connection rests until its owner resumes it; nothing is forgotten, nothing wakes it by accident."""

from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection

from evercgm.core.tokens import Secret
from evercgm.core.verdict import Verdict
from evercgm.runtime import Runtime
from evercgm.storage import connections
from evercgm.storage.connections import load_for_sync
from evercgm.storage.identity import sign_in_link, use_link

LIST = f"{BASE}/connections"
STATE = (
    "select c.status::text, c.access_token, c.refresh_token, s.next_sync_at <= now(), s.reason"
    " from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id where c.id = %s"
)


async def stored(database: Any, connection_id: str) -> tuple[Any, ...]:
    """Status, both tokens as stored, whether it is due (None: it has no time at all), and the reason."""
    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        row = await (await conn.execute(STATE.encode(), (connection_id,))).fetchone()
    assert row is not None
    return tuple(row)


async def sealed_connection(runtime: Runtime, admin: Run, person_id: str) -> str:
    """A connection whose tokens open."""
    connection_id = await add_connection(admin, person_id)
    vault = runtime.db.vault
    pair = (
        vault.seal(Secret("access"), connections.access_place(connection_id)),
        vault.seal(Secret("refresh"), connections.refresh_place(connection_id)),
    )
    await admin(
        "update public.cgm_connections set access_token = %s, refresh_token = %s where id = %s",
        (*pair, connection_id),
    )
    return connection_id


async def test_a_pause_keeps_the_tokens_and_a_resume_syncs_now(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await admin("update cgm_private.sync_state set next_sync_at = now() + interval '4 minutes'")

    paused = await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)
    at_rest = await stored(database, connection_id)
    resumed = await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (paused.status_code, paused.json()["status"], paused.json()["reason"]) == (200, "disconnected", "paused")
    assert at_rest == ("disconnected", "marked-access", "marked-refresh", None, None)
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["reason"]) == (200, "connected", None)
    assert await stored(database, connection_id) == ("connected", "marked-access", "marked-refresh", True, None)
    assert "marked" not in paused.text + resumed.text


async def test_twice_is_as_good_as_once(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)

    for step, status in (("pause", "disconnected"), ("pause", "disconnected"), ("resume", "connected"),
                         ("resume", "connected")):  # fmt: skip
        answer = await client.post(f"{LIST}/{connection_id}/{step}", headers=ada.bearer)
        assert (answer.status_code, answer.json()["status"]) == (200, status)


async def test_resuming_one_that_is_not_paused_does_not_hurry_it(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await admin("update cgm_private.sync_state set next_sync_at = now() + interval '4 minutes'")

    await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (await stored(database, connection_id))[3] is False


async def test_a_resume_without_tokens_asks_for_a_reconnect(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="disconnected")
    await admin("update public.cgm_connections set access_token = '', refresh_token = ''")

    answer = await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (answer.status_code, answer.json()["code"]) == (409, "reconnect_needed")


@pytest.mark.parametrize("step", ["pause", "resume"])
async def test_an_expired_connection_only_comes_back_by_a_reconnect(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run, step: str
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="expired")

    answer = await client.post(f"{LIST}/{connection_id}/{step}", headers=ada.bearer)

    assert (answer.status_code, answer.json()["code"]) == (409, "reconnect_needed")
    assert (await stored(database, connection_id))[0] == "expired"


async def test_access_that_ended_during_a_pause_is_not_resumed(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="disconnected")
    await admin("update cgm_private.sync_state set reason = 'reconnect_needed'")

    shown = (await client.get(f"{LIST}/{connection_id}", headers=ada.bearer)).json()
    answer = await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (shown["status"], shown["reason"]) == ("disconnected", "reconnect_needed")
    assert (answer.status_code, answer.json()["code"]) == (409, "reconnect_needed")


async def add_share(admin: Run, connection_id: str, person_id: str) -> None:
    """Beside it, and due now."""
    await admin(
        "insert into cgm_private.routes (id, connection_id, person_id, route, region, secret, session,"
        " session_expires_at) values (%s, %s, %s, 'dexcom_share', 'us', '', '', now())",
        (str(uuid4()), connection_id, person_id),
    )


async def test_where_share_works_an_expired_connection_is_paused_and_told_as_paused_and_comes_back_as_it_was(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="expired")
    await admin("update cgm_private.sync_state set reason = 'reconnect_needed', next_sync_at = null")
    await add_share(admin, connection_id, ada.person_id)

    paused = await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)
    at_rest = await stored(database, connection_id)
    resumed = await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (paused.status_code, paused.json()["status"], paused.json()["reason"]) == (200, "disconnected", "paused")
    assert at_rest == ("disconnected", "marked-access", "marked-refresh", None, "reconnect_needed")
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["reason"]) == (
        200, "expired", "reconnect_needed"
    )  # fmt: skip
    assert await stored(database, connection_id) == (
        "expired", "marked-access", "marked-refresh", None, "reconnect_needed"
    )  # fmt: skip


async def test_trouble_is_not_forgotten_by_a_pause(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="error")
    await admin("update cgm_private.sync_state set reason = 'vendor_denied', failure_count = 3")

    paused = await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)
    resumed = await client.post(f"{LIST}/{connection_id}/resume", headers=ada.bearer)

    assert (paused.json()["status"], paused.json()["reason"]) == ("disconnected", "paused")
    assert (resumed.json()["status"], resumed.json()["reason"]) == ("error", "vendor_denied")


async def test_a_pause_does_not_hurry_the_ladder_of_a_refused_sign_in(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="error")
    await admin("update cgm_private.sync_state set reason = 'sign_in_refused', next_sync_at = now() + interval '2 h'")

    for step in ("pause", "resume"):
        await client.post(f"{LIST}/{connection_id}/{step}", headers=ada.bearer)

    status, *_, due, reason = await stored(database, connection_id)
    assert (status, due, reason) == ("error", False, "sign_in_refused")


async def test_who_asks_for_a_sync_during_a_lock_is_told_when_to_ask_again_also_after_a_pause(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id, status="error")
    await admin("update cgm_private.sync_state set reason = 'sign_in_locked', next_sync_at = now() + interval '5 m'")
    asked = {"headers": ada.bearer, "json": {"connection_id": connection_id}}

    first = await client.post(f"{BASE}/sync", **asked)
    for step in ("pause", "resume"):
        await client.post(f"{LIST}/{connection_id}/{step}", headers=ada.bearer)
    second = await client.post(f"{BASE}/sync", **asked)

    for answer in (first, second):
        assert (answer.status_code, answer.json()["code"]) == (409, "sign_in_locked")
        assert 240 <= int(answer.headers["Retry-After"]) <= 300


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_a_running_sync_ends_and_does_not_wake_it(
    client: httpx2.AsyncClient, runtime: Runtime, database: Any, ada: Owner, admin: Run, ends: str
) -> None:
    connection_id = await sealed_connection(runtime, admin, ada.person_id)
    loaded = await load_for_sync(runtime.db, connection_id)
    assert loaded is not None

    await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)
    async with runtime.db.as_worker() as conn:
        if ends == "well":
            await connections.note_success(conn, loaded, loaded.tokens.expires_at, 0)
        else:
            verdict = Verdict("error", "vendor_unavailable", loaded.tokens.expires_at, 1)
            await connections.note_failure(conn, loaded, verdict)

    shown = (await client.get(f"{LIST}/{connection_id}", headers=ada.bearer)).json()
    assert (shown["status"], shown["reason"]) == ("disconnected", "paused")
    # Nor has it a time: whoever looks for what is due does not come upon it, however long it rests.
    status, *_, due, _reason = await stored(database, connection_id)
    assert (status, due) == ("disconnected", None)


async def test_a_sync_that_waits_for_its_turn_is_stopped_by_a_pause(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await client.post(f"{BASE}/sync", json={"connection_id": connection_id}, headers=ada.bearer)

    await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)

    runs = (await client.get(f"{BASE}/syncs", headers=ada.bearer)).json()["syncs"]
    assert [(run["state"], run["outcome"]) for run in runs] == [("done", "cancelled")]


@pytest.mark.parametrize("step", ["pause", "resume"])
async def test_a_strangers_connection_an_unknown_one_and_the_host_apps_are_not_found(
    client: httpx2.AsyncClient, database: Any, ada: Owner, bob: Owner, admin: Run, step: str
) -> None:
    theirs = await add_connection(admin, bob.person_id)
    host_apps = await add_connection(admin, ada.person_id, adopted=False)

    headers = {**ada.bearer, "X-Request-Id": "request-0001"}
    answers = [await client.post(f"{LIST}/{one}/{step}", headers=headers) for one in (theirs, host_apps, str(uuid4()))]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert (await stored(database, theirs))[0] == "connected"


@pytest.mark.parametrize("step", ["pause", "resume"])
async def test_a_cookie_pauses_nothing_without_our_origin(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run, step: str
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    browser.cookies.set("evercgm_session", await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id)))

    assert (await browser.post(f"{LIST}/{connection_id}/{step}")).status_code == 403
    assert (await browser.post(f"{LIST}/{connection_id}/{step}", headers={"Origin": ORIGIN})).status_code == 200
