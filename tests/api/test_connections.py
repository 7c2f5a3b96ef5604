"""Owners see their connections in words, never a token; strangers cannot even tell that they exist."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_person, add_readings

from evercgm.runtime import Runtime
from evercgm.storage.identity import sign_in_link, use_link

LIST = f"{BASE}/connections"


async def test_an_owner_sees_the_connection_in_words(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_connection(admin, bob.person_id)
    newest = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    await add_readings(admin, ada.person_id, connection_id, [newest, newest - timedelta(days=2)])

    found = (await client.get(LIST, headers=ada.bearer)).json()["connections"]
    one = (await client.get(f"{LIST}/{connection_id}", headers=ada.bearer)).json()

    assert [connection_id] == [item["id"] for item in found]
    assert {
        "id", "person_id", "provider", "region", "status", "reason", "message", "device_id", "connected_at",
        "token_expires_at", "last_sync_at", "next_sync_at", "newest_reading_at", "freshness", "routes",
    } == set(found[0])  # fmt: skip
    assert newest.strftime("%Y-%m-%dT%H:%M:%SZ") == found[0]["newest_reading_at"]
    assert tuple(found[0][name] for name in ("status", "region", "reason", "freshness")) == (
        "connected",
        "us",
        None,
        "delayed",
    )
    assert {**found[0], "readings": {"total": 2, "days": 2}} == one


async def test_no_answer_holds_a_token(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)

    for path in (LIST, f"{LIST}/{connection_id}", f"{BASE}/syncs", f"{BASE}/session"):
        assert "marked" not in (await client.get(path, headers=ada.bearer)).text


async def test_a_connection_of_the_host_app_says_whose_it_is(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    await add_connection(admin, ada.person_id, adopted=False)

    found = (await client.get(LIST, headers=ada.bearer)).json()["connections"][0]

    assert (found["reason"], found["region"], found["freshness"]) == ("not_adopted", None, "none")
    assert found["message"].startswith("This connection belongs to another app.")
    assert "theirs" not in str(found)


async def test_a_paused_connection_says_so(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_connection(admin, ada.person_id, status="disconnected")

    found = (await client.get(LIST, headers=ada.bearer)).json()["connections"][0]

    assert (found["status"], found["reason"]) == ("disconnected", "paused")


async def test_a_strangers_id_and_an_unknown_id_get_the_same_answer(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    theirs = await add_connection(admin, bob.person_id)
    run_id = str(uuid4())
    await admin(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger) values (%s, %s, %s, 'schedule')",
        (run_id, theirs, bob.person_id),
    )

    def calls(connection_id: str, person_id: str, sync_id: str) -> list[tuple[str, str, Any]]:
        return [
            ("GET", f"{LIST}/{connection_id}", None),
            ("DELETE", f"{LIST}/{connection_id}", None),
            ("GET", f"{LIST}?person_id={person_id}", None),
            ("GET", f"{BASE}/readings?person_id={person_id}", None),
            ("GET", f"{BASE}/syncs?connection_id={connection_id}", None),
            ("GET", f"{BASE}/syncs/{sync_id}", None),
            ("POST", f"{BASE}/sync", {"connection_id": connection_id}),
            ("POST", f"{BASE}/sync", {"person_id": person_id}),
            ("POST", f"{BASE}/dexcom/oauth", {"person_id": person_id, "region": "us"}),
        ]

    headers = {**ada.bearer, "X-Request-Id": "request-0001"}
    foreign = calls(theirs, bob.person_id, run_id)
    unknown = calls(str(uuid4()), str(uuid4()), str(uuid4()))
    for (method, path, body), (_, other_path, other_body) in zip(foreign, unknown, strict=True):
        first = await client.request(method, path, json=body, headers=headers)
        second = await client.request(method, other_path, json=other_body, headers=headers)
        assert (first.status_code, first.json()["code"]) == (404, "not_found"), path
        assert second.content == first.content
    assert (await client.get(f"{LIST}/{theirs}", headers=bob.bearer)).status_code == 200
    assert run_id == (await client.get(f"{BASE}/syncs/{run_id}", headers=bob.bearer)).json()["id"]


async def test_isolation_does_not_rest_on_row_level_security(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    theirs = await add_connection(admin, bob.person_id)
    await add_readings(admin, bob.person_id, theirs, [datetime.now(UTC)])
    for table in ('public."Person"', "public.glucose_readings", "public.cgm_connections", "cgm_private.sync_runs"):
        await admin(f"alter table {table} disable row level security")

    session = (await client.get(f"{BASE}/session", headers=ada.bearer)).json()
    connections = (await client.get(LIST, headers=ada.bearer)).json()["connections"]
    syncs = (await client.get(f"{BASE}/syncs", headers=ada.bearer)).json()["syncs"]
    readings = await client.get(f"{BASE}/readings?person_id={bob.person_id}", headers=ada.bearer)

    assert [ada.person_id] == [person["id"] for person in session["persons"]]
    assert (connections, syncs, readings.status_code) == ([], [], 404)
    assert (await client.get(f"{LIST}/{theirs}", headers=ada.bearer)).status_code == 404


async def test_disconnecting_keeps_the_readings(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    await add_readings(admin, ada.person_id, connection_id, [datetime.now(UTC)])

    answer = await client.delete(f"{LIST}/{connection_id}", headers=ada.bearer)
    left = (await client.get(f"{BASE}/readings", headers=ada.bearer)).json()["readings"]

    assert (answer.status_code, answer.json()) == (200, {"readings_kept": 1, "vendor_revoked": False})
    assert (await client.get(f"{LIST}/{connection_id}", headers=ada.bearer)).status_code == 404
    assert [reading["connection_id"] for reading in left] == [None]


async def test_asking_for_a_sync_twice_gives_the_same_run(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    connection_id = await add_connection(admin, ada.person_id)

    first = await client.post(f"{BASE}/sync", json={"connection_id": connection_id}, headers=ada.bearer)
    second = await client.post(f"{BASE}/sync", headers=ada.bearer)
    listed = (await client.get(f"{BASE}/syncs", headers=ada.bearer)).json()["syncs"]

    assert first.status_code == 202
    assert first.json() == second.json()
    assert [run["id"] for run in first.json()["runs"]] == [run["id"] for run in listed]
    assert tuple(listed[0][name] for name in ("state", "outcome", "took_ms")) == ("queued", None, None)


async def test_a_window_needs_an_order_and_a_zone(client: httpx2.AsyncClient, ada: Owner) -> None:
    for body, field in (
        ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from"),
        ({"from": "2026-11-02T00:00:00"}, "from"),
        ({"to": "0001-01-01T00:00:00+14:00"}, "to"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"to": "2026-11-02T00:00:00Z"}, "from"),
        ({"from": "2023-11-02T00:00:00Z", "to": "2025-11-02T00:00:00Z"}, "from"),
        ({"from": "2023-11-02T00:00:00Z"}, "from"),
        ({"start": "2026-11-02T00:00:00Z"}, "start"),
        ({"person_id": "a\u0000b"}, "person_id"),
        ({"person_id": "p" * 201}, "person_id"),
    ):
        answer = await client.post(f"{BASE}/sync", json=body, headers=ada.bearer)
        assert (422, field) == (answer.status_code, answer.json()["errors"][0]["field"])


async def test_where_nothing_is_synced_the_answer_says_what_comes_first(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    async def asked(**body: str) -> tuple[int, str, str]:
        answer = await client.post(f"{BASE}/sync", json=body, headers=ada.bearer)
        return answer.status_code, answer.json()["code"], (answer.json().get("errors") or [{"field": ""}])[0]["field"]

    assert await asked() == await asked(person_id=ada.person_id) == (409, "not_connected", "person_id")
    connection_id = await add_connection(admin, ada.person_id)
    await client.post(f"{LIST}/{connection_id}/pause", headers=ada.bearer)
    assert await asked(connection_id=connection_id) == (409, "paused", "connection_id")
    assert await asked(person_id=ada.person_id) == (409, "paused", "person_id")
    await admin("update public.cgm_connections set status = 'expired'")
    assert await asked(connection_id=connection_id) == await asked() == (409, "reconnect_needed", "")
    assert (await client.get(f"{BASE}/syncs", headers=ada.bearer)).json() == {"syncs": []}


async def test_with_two_persons_the_person_must_be_named(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await add_person(admin, ada.owner_id, str(uuid4()), "Child")

    for answer in (
        await client.get(f"{BASE}/readings", headers=ada.bearer),
        await client.post(f"{BASE}/sync", json={}, headers=ada.bearer),
        await client.post(f"{BASE}/dexcom/oauth", json={"region": "us"}, headers=ada.bearer),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "person_id")
    assert (await client.get(LIST, headers=ada.bearer)).status_code == 200


async def test_a_cookie_changes_nothing_without_our_origin(
    browser: httpx2.AsyncClient, runtime: Runtime, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    browser.cookies.set("evercgm_session", await use_link(runtime.db, await sign_in_link(runtime.db, ada.owner_id)))

    for method, path in (("DELETE", f"{LIST}/{connection_id}"), ("POST", f"{BASE}/sync")):
        assert (await browser.request(method, path)).status_code == 403
    answer = await browser.delete(f"{LIST}/{connection_id}", headers={"Origin": ORIGIN})
    assert answer.status_code == 200


async def test_providers_tell_what_can_be_connected(client: httpx2.AsyncClient, ada: Owner) -> None:
    found = (await client.get(f"{BASE}/providers", headers=ada.bearer)).json()["providers"]

    assert [(item["route"], item["official"], item["connect"]) for item in found] == [
        ("dexcom", True, "consent"),
        ("abbott", True, "import"),
    ]
    assert {item["region"]: item["configured"] for item in found[0]["regions"]} == {"us": True, "eu": False}


@pytest.mark.parametrize("path", ["connections/%00", "syncs/%00", "connections?person_id=%00", "syncs?limit=0"])
async def test_an_id_that_cannot_be_one_is_a_clear_answer(client: httpx2.AsyncClient, ada: Owner, path: str) -> None:
    answer = await client.get(f"{BASE}/{path}", headers=ada.bearer)

    assert (answer.status_code, answer.json()["code"]) == (422, "bad_input")
