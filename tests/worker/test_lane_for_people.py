"""Whoever presses "sync now" is served while all other places are taken, by however slow a vendor."""

from typing import Any
from uuid import uuid4

from sync_world import World, walk_consent
from test_stopping import Gate
from worker_world import QUICK, runtime_of, until, working

from evercgm.actions.request_sync import request_sync
from evercgm.storage import jobs

AT_WORK = "select trigger, count(*) from cgm_private.sync_runs where state = 'running' group by 1 order by 1"
WAITING = "select entrypoint, count(*) from cgm_jobs.pgqueuer where status = 'queued' group by 1"


async def connect(world: World, persons: int) -> list[str]:
    """So many persons of one owner, connected and synced; the ids of their connections."""
    for _ in range(persons):
        person_id = str(uuid4())
        world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, world.caller.owner_id)
        finished = await walk_consent(world.db, world.vendors, world.caller, person_id, "User7")
        assert finished.outcome == "connected"
    ids = [row[0] for row in world.sql("select id from public.cgm_connections order by created_at")]
    for connection_id in ids:
        await world.sync(connection_id)
    world.sql("delete from cgm_jobs.pgqueuer")
    world.sql("delete from cgm_private.sync_runs")
    return ids


async def ask(world: World, connection_id: str) -> None:
    """As by the button."""
    await request_sync(world.db, world.caller, connection_id=connection_id, person_id=None, start=None, end=None)


async def test_while_the_vendor_hangs_in_all_places_who_asks_is_served(world: World, database: Any) -> None:
    *others, not_due = await connect(world, 6)
    world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = any(%s)", others)
    gate = Gate(world, "egvs")
    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(AT_WORK) == [("schedule", QUICK.concurrency)], "all places are taken")

        await ask(world, not_due)
        await until(lambda: world.sql(AT_WORK)[:1] == [("person", 1)], "the first is served")
        at_work = {row[0] for row in world.sql("select connection_id from cgm_private.sync_runs")}
        await ask(world, next(one for one in others if one not in at_work))
        await until(lambda: world.sql(AT_WORK)[:1] == [("person", 2)], "the second is served")

        assert world.sql(AT_WORK) == [("person", 2), ("schedule", QUICK.concurrency)]
        assert world.sql(WAITING) == [(jobs.SYNC, 2)]
        gate.open.set()
        await until(lambda: world.sql("select 1 from cgm_jobs.pgqueuer") == [], "all jobs have ended")

    assert world.sql("select distinct state, outcome = 'failed' from cgm_private.sync_runs") == [("done", False)]


async def test_a_worker_has_no_more_at_a_time_than_it_is_told(world: World, database: Any) -> None:
    await connect(world, 5)
    world.sql("update cgm_private.sync_state set next_sync_at = now()")
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, sum(count for _trigger, count in world.sql(AT_WORK)))
        return world.sql("select 1 from cgm_private.sync_state where next_sync_at <= now()") == []

    async with working(await runtime_of(world), database.service_dsn):
        await until(look, "all are synced")

    assert 0 < most <= QUICK.concurrency
