"""The record of deeds keeps every deed of an owner's, so an owner may do each only so often within an hour."""

from typing import Any

import httpx2
import psycopg
import pytest
from api_world import BASE, Owner, Run, add_connection

from evercgm.storage.audit import MOST_AN_HOUR

CONNECTIONS = f"{BASE}/connections"
CSV = {"Accept": "text/csv"}


async def deeds(database: Any, action: str) -> int:
    query = "select count(*) from cgm_private.audit_events where action = %s"
    async with await psycopg.AsyncConnection.connect(database.admin_dsn) as conn:
        ((number,),) = await (await conn.execute(query, (action,))).fetchall()
    return int(number)


async def done_so_often(admin: Run, owner: Owner, action: str, times: int = MOST_AN_HOUR, ago: str = "50 min") -> None:
    await admin(
        "insert into cgm_private.audit_events (actor, person_id, action, at)"
        " select %s, %s, %s, now() - %s::interval from generate_series(1, %s)",
        (f"owner:{owner.owner_id}", owner.person_id, action, ago, times),
    )


def assert_is_refused(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (429, "too_often")
    assert 540 <= int(answer.headers["retry-after"]) <= 600


async def test_pausing_and_resuming_in_a_loop_ends_and_changes_nothing_more(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection = f"{CONNECTIONS}/{await add_connection(admin, ada.person_id)}"

    for step in ("pause", "resume") * MOST_AN_HOUR:
        assert (await client.post(f"{connection}/{step}", headers=ada.bearer)).status_code == 200
    refused = await client.post(f"{connection}/pause", headers=ada.bearer)

    assert (refused.status_code, refused.json()["code"]) == (429, "too_often")
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert (await deeds(database, "paused"), await deeds(database, "resumed")) == (MOST_AN_HOUR, MOST_AN_HOUR)
    assert (await client.get(connection, headers=ada.bearer)).json()["status"] == "connected"


async def test_a_deed_that_was_done_too_often_is_possible_again_within_the_hour(
    client: httpx2.AsyncClient, ada: Owner, admin: Run
) -> None:
    connection = f"{CONNECTIONS}/{await add_connection(admin, ada.person_id)}"
    await done_so_often(admin, ada, "paused")

    assert_is_refused(await client.post(f"{connection}/pause", headers=ada.bearer))
    await admin("update cgm_private.audit_events set at = at - interval '11 min'")
    assert (await client.post(f"{connection}/pause", headers=ada.bearer)).status_code == 200


async def test_no_readings_leave_as_a_file_that_cannot_be_written_down(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    await done_so_often(admin, ada, "exported", MOST_AN_HOUR - 1)

    last = await client.get(f"{BASE}/readings", headers={**ada.bearer, **CSV})
    refused = await client.get(f"{BASE}/readings", headers={**ada.bearer, **CSV})

    assert last.status_code == 200
    assert_is_refused(refused)
    assert await deeds(database, "exported") == MOST_AN_HOUR
    # Looking at them is no export.
    assert (await client.get(f"{BASE}/readings", headers=ada.bearer)).status_code == 200


async def test_erasing_what_is_erased_fills_no_table(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    await done_so_often(admin, ada, "erased")

    assert_is_refused(await client.delete(f"{BASE}/persons/{ada.person_id}/data", headers=ada.bearer))
    assert await deeds(database, "erased") == MOST_AN_HOUR


@pytest.mark.parametrize("deed", ["connected", "paused", "exported", "disconnected"])
async def test_whoever_wants_out_gets_out_whatever_was_done_too_often(
    client: httpx2.AsyncClient, ada: Owner, admin: Run, deed: str
) -> None:
    connection = f"{CONNECTIONS}/{await add_connection(admin, ada.person_id)}"
    await done_so_often(admin, ada, deed)

    assert (await client.delete(connection, headers=ada.bearer)).status_code == 200
    assert (await client.delete(f"{BASE}/persons/{ada.person_id}/data", headers=ada.bearer)).status_code == 200


async def test_what_others_did_counts_for_nobody_else(
    client: httpx2.AsyncClient, ada: Owner, bob: Owner, admin: Run
) -> None:
    connection = f"{CONNECTIONS}/{await add_connection(admin, ada.person_id)}"
    await done_so_often(admin, bob, "paused")
    # An owner of before, and a person whom this owner had before.
    await done_so_often(admin, Owner(bob.owner_id, ada.person_id, {}), "paused")
    await done_so_often(admin, Owner(ada.owner_id, bob.person_id, {}), "paused")

    assert (await client.post(f"{connection}/pause", headers=ada.bearer)).status_code == 200
