"""A run that somebody else has taken over is theirs: whoever was silent for too long stores, ends and moves nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sync_world import World

from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection

RUNS = "select state, starts, outcome, fetched from cgm_private.sync_runs order by requested_at"
STATE = """select c.status::text, c.sync_cursor, c.last_sync_at, s.next_sync_at, s.reason, s.failure_count, s.scans
           from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id"""
READINGS = 'select id, value from public.glucose_readings order by "timestamp"'


async def job(world: World, connection_id: str, job_id: int = 7) -> Result | None:
    return await sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=job_id)


async def overtake(
    world: World, call: str, other: Callable[[], Awaitable[object]], then: Callable[[], object] = lambda: None
) -> Result | None:
    """A job that hangs in ``call``; meanwhile ``other`` happens, and ``then``, before it hears the answer."""
    connection_id = await world.connect()
    silent, goes_on = asyncio.Event(), asyncio.Event()

    async def pause(path: str) -> None:
        if path == call and not silent.is_set():
            silent.set()
            await goes_on.wait()

    world.weather.pause = pause
    first = asyncio.create_task(job(world, connection_id))
    await silent.wait()
    await other()
    then()
    goes_on.set()
    return await first


@pytest.mark.parametrize("call", ["dataRange", "devices", "egvs"])
async def test_who_was_overtaken_by_another_worker_writes_nothing_more(world: World, call: str) -> None:
    left: dict[str, Any] = {}

    async def other() -> None:
        connection_id = world.sql("select id from public.cgm_connections")[0][0]
        result = await job(world, connection_id)
        assert result is not None
        assert result.outcome == "succeeded"
        left.update(runs=world.sql(RUNS), state=world.sql(STATE), readings=world.sql(READINGS))

    result = await overtake(world, call, other)

    assert result is not None
    assert (result.outcome, result.saved.inserted) == ("cancelled", 0)
    assert [row[:3] for row in left["runs"]] == [("done", 2, "succeeded")]
    assert len(left["readings"]) == left["runs"][0][3] == len(await world.truth())
    assert (world.sql(RUNS), world.sql(STATE), world.sql(READINGS)) == (left["runs"], left["state"], left["readings"])


async def test_a_failure_that_was_met_after_the_run_was_taken_over_is_nobodys(world: World) -> None:
    async def other() -> None:
        await job(world, world.sql("select id from public.cgm_connections")[0][0])

    def break_the_cloud() -> None:
        world.weather.answers["egvs"] = (503, b"")

    result = await overtake(world, "egvs", other, break_the_cloud)

    assert result is not None
    assert result.outcome == "cancelled"
    assert world.status(world.sql("select id from public.cgm_connections")[0][0]) == ("connected", None)
    assert [row[:3] for row in world.sql(RUNS)] == [("done", 2, "succeeded")]


async def test_while_the_other_one_is_still_at_it_the_run_stays_theirs(world: World) -> None:
    """The one that comes back late meets a run that is under way: it must neither end it nor count in it."""

    async def other() -> None:
        # As another worker begins it, and goes on with it later.
        world.sql("update cgm_private.sync_runs set starts = starts + 1")

    result = await overtake(world, "egvs", other)

    assert result is not None
    assert result.outcome == "cancelled"
    assert world.sql(RUNS) == [("running", 2, None, 0)]
    assert world.sql(READINGS) == []


async def test_a_job_for_what_was_synced_since_it_was_put_into_the_queue_does_nothing(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = world.sql(RUNS)
    world.weather.calls.clear()

    assert await job(world, connection_id) is None

    assert world.weather.calls == []
    assert world.sql(RUNS) == before


async def test_what_somebody_asked_for_is_synced_though_it_is_not_due(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    world.sql(
        "insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state)"
        " select 'asked', id, person_id, 'person', 'queued' from public.cgm_connections"
    )

    result = await job(world, connection_id)

    assert result is not None
    assert world.sql("select state, starts from cgm_private.sync_runs where id = 'asked'") == [("done", 1)]
