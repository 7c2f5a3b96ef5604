"""``/persons/{id}/data``: counted for the owner, erased by the owner, nothing for anybody else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from api_world import BASE, ORIGIN, Owner, Run, add_connection, add_readings

from evercgm.runtime import Runtime
from evercgm.storage.identity import sign_in_link, use_link

NOW = datetime.now(UTC)
NOTHING = {
    "readings": {},
    "connections": 0,
    "syncs": 0,
    "routes": 0,
    "unreadable_records": 0,
    "set_aside": 0,
    "sign_ins": 0,
    "jobs": 0,
    "settings": 0,
}


def data_of(person_id: str) -> str:
    return f"{BASE}/persons/{person_id}/data"


async def stored(database: Any, person_id: str) -> list[tuple[str, str | None]]:
    """The readings of a person: source and connection."""
    query = "select source::text, cgm_connection_id from public.glucose_readings where person_id = %s order by 1, 2"
    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        return [(row[0], row[1]) for row in await (await conn.execute(query, (person_id,))).fetchall()]


async def fill(admin: Run, person_id: str) -> str:
    """Three readings of the sensor by a connection of ours, and two of the host app; the connection's id."""
    connection_id = await add_connection(admin, person_id)
    await add_readings(admin, person_id, connection_id, [NOW - timedelta(minutes=5 * place) for place in range(3)])
    for source in ("fingerstick", "lab"):
        await admin(
            'insert into public.glucose_readings (id, person_id, "timestamp", value, source)'
            ' values (%s, %s, now(), 90, %s::"GlucoseSource")',
            (f"{source}-{person_id}", person_id, source),
        )
    return connection_id


async def test_the_owner_sees_the_counts_then_deletes_them_and_is_told(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await fill(admin, ada.person_id)

    seen = await client.get(data_of(ada.person_id), headers=ada.bearer)
    before = await stored(database, ada.person_id)
    erased = await client.delete(data_of(ada.person_id), headers=ada.bearer)

    ours = {**NOTHING, "readings": {"cgm": 3}, "connections": 1, "settings": 1}
    host = {"readings": {"fingerstick": 1, "lab": 1}, "connections": 0}
    assert (seen.status_code, seen.json()) == (200, {"person_id": ada.person_id, "ours": ours, "host": host})
    assert len(before) == 5
    assert (erased.status_code, erased.json()) == (200, {"erased": ours, "kept": host})
    assert await stored(database, ada.person_id) == [("fingerstick", None), ("lab", None)]
    gone = await client.get(f"{BASE}/connections/{connection_id}", headers=ada.bearer)
    assert gone.status_code == 404


async def test_all_readings_are_deleted_only_where_that_is_asked_for(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    await fill(admin, ada.person_id)

    first = await client.delete(data_of(ada.person_id), params={"all_readings": "false"}, headers=ada.bearer)
    second = await client.delete(data_of(ada.person_id), params={"all_readings": "true"}, headers=ada.bearer)

    assert first.json()["kept"]["readings"] == {"fingerstick": 1, "lab": 1}
    assert second.json()["erased"] == {**NOTHING, "readings": {"fingerstick": 1, "lab": 1}}
    assert second.json()["kept"] == {"readings": {}, "connections": 0}
    assert await stored(database, ada.person_id) == []


@pytest.mark.parametrize("query", ["all_readings=perhaps", "all_reading=true", "all_readings=true&all_readings=false"])
async def test_a_query_that_is_not_understood_deletes_nothing(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run, query: str
) -> None:
    await fill(admin, ada.person_id)

    refused = await client.delete(f"{data_of(ada.person_id)}?{query}", headers=ada.bearer)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == query.partition("=")[0]
    assert len(await stored(database, ada.person_id)) == 5


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_owners_person_and_an_unknown_one_are_the_same_404(
    client: httpx2.AsyncClient, database: Any, ada: Owner, bob: Owner, admin: Run, method: str
) -> None:
    await fill(admin, bob.person_id)

    answers = [
        await client.request(method, data_of(person_id), headers=ada.bearer) for person_id in (bob.person_id, "unknown")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    bodies = [{name: value for name, value in answer.json().items() if name != "request_id"} for answer in answers]
    assert bodies[0] == bodies[1]
    assert len(await stored(database, bob.person_id)) == 5


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_nobody_is_told_or_deletes_anything_without_signing_in(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run, method: str
) -> None:
    await fill(admin, ada.person_id)

    assert (await client.request(method, data_of(ada.person_id))).status_code == 401
    assert len(await stored(database, ada.person_id)) == 5


@pytest.mark.parametrize("origin", [None, "http://evil.test", "null"])
async def test_a_session_deletes_only_from_our_own_page(
    browser: httpx2.AsyncClient, runtime: Runtime, database: Any, ada: Owner, admin: Run, origin: str | None
) -> None:
    await fill(admin, ada.person_id)
    link = await sign_in_link(runtime.db, ada.owner_id)
    browser.cookies.set("evercgm_session", await use_link(runtime.db, link))

    foreign = await browser.delete(data_of(ada.person_id), headers={"Origin": origin} if origin else {})
    left = await stored(database, ada.person_id)
    own = await browser.delete(data_of(ada.person_id), headers={"Origin": ORIGIN})

    assert (foreign.status_code, foreign.json()["code"], len(left)) == (403, "foreign_origin", 5)
    assert own.status_code == 200


async def test_counting_and_deleting_show_no_token(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await fill(admin, ada.person_id)

    seen = await client.get(data_of(ada.person_id), headers=ada.bearer)
    erased = await client.delete(data_of(ada.person_id), headers=ada.bearer)

    assert "marked" not in seen.text + erased.text
    assert seen.headers["cache-control"] == "no-store"


async def test_the_person_stays_and_can_connect_again(client: httpx2.AsyncClient, ada: Owner, admin: Run) -> None:
    await fill(admin, ada.person_id)

    await client.delete(data_of(ada.person_id), headers=ada.bearer)

    session = (await client.get(f"{BASE}/session", headers=ada.bearer)).json()
    assert session["persons"] == [{"id": ada.person_id, "label": "Person"}]
    begun = await client.post(
        f"{BASE}/dexcom/oauth", json={"person_id": ada.person_id, "region": "us"}, headers=ada.bearer
    )
    assert begun.status_code == 200
