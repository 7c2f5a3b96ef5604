"""A thousand hands on the same button: one run, everybody is told of it, and nothing breaks."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import psycopg
from api_world import BASE, Owner, Run, add_connection

THOUSAND = 1000


async def press(client: httpx2.AsyncClient, body: dict[str, str], headers: dict[str, str]) -> httpx2.Response:
    """As a client does it: where the database is busy, it is told when to come again, and does."""
    while True:
        answer = await client.post(f"{BASE}/sync", json=body, headers=headers)
        if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            return answer
        assert answer.json()["code"] == "database_unavailable"
        await asyncio.sleep(int(answer.headers["retry-after"]))


async def test_a_thousand_manual_syncs_at_once_are_one_run_and_no_failure_of_ours(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)

    answers = await asyncio.gather(
        *(press(client, {"connection_id": connection_id}, ada.bearer) for _ in range(THOUSAND))
    )

    assert Counter(answer.status_code for answer in answers) == {202: THOUSAND}
    told = {run["id"] for answer in answers for run in answer.json()["runs"]}
    with psycopg.connect(database.admin_dsn) as conn:
        runs = conn.execute("select id, state, trigger from cgm_private.sync_runs").fetchall()
        jobs = conn.execute("select count(*) from cgm_jobs.pgqueuer").fetchone()
    assert runs == [(next(iter(told)), "queued", "person")]
    assert (len(told), jobs) == (1, (1,))


async def test_a_thousand_more_after_it_has_run_are_told_when_to_come_again(
    client: httpx2.AsyncClient, database: Any, ada: Owner, admin: Run
) -> None:
    connection_id = await add_connection(admin, ada.person_id)
    body = {"connection_id": connection_id}
    await client.post(f"{BASE}/sync", json=body, headers=ada.bearer)
    await admin("update cgm_private.sync_runs set state = 'done', outcome = 'succeeded', started_at = now()")

    answers = await asyncio.gather(*(press(client, body, ada.bearer) for _ in range(THOUSAND)))

    assert Counter(answer.status_code for answer in answers) == {429: THOUSAND}
    assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in answers)
    with psycopg.connect(database.admin_dsn) as conn:
        assert conn.execute("select count(*) from cgm_private.sync_runs").fetchone() == (1,)
