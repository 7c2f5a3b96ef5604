"""A worker that is told to stop: what it has in hand is finished, or given back to whoever goes on; it never fails."""

import asyncio
from dataclasses import replace
from typing import Any

from sync_world import World
from worker_world import QUICK, runtime_of, until, working

from evercgm.core import counts
from evercgm.storage import jobs

RUNS = "select state, starts, outcome from cgm_private.sync_runs"
JOBS = "select status::text, attempts, queue_manager_id is null from cgm_jobs.pgqueuer"
ENDS = "select distinct status::text from cgm_jobs.pgqueuer_log where status not in ('queued', 'picked')"


class Gate:
    """The vendor does not answer calls of this name before it is opened."""

    def __init__(self, world: World, call: str):
        self.reached, self.open = asyncio.Event(), asyncio.Event()

        async def pause(path: str) -> None:
            if path == call:
                self.reached.set()
                await self.open.wait()

        world.weather.pause = pause


async def test_what_is_in_hand_is_finished_and_nothing_new_is_begun(world: World, database: Any) -> None:
    await world.connect()
    gate = Gate(world, "dataRange")
    patient = replace(QUICK, finish_within_s=60)
    async with working(await runtime_of(world), database.service_dsn, patient) as stop:
        await gate.reached.wait()
        stop.set()
        await asyncio.sleep(0)
        world.sql("insert into cgm_jobs.pgqueuer (priority, status, entrypoint) values (10, 'queued', %s)", jobs.ASKED)
        gate.open.set()

    assert world.sql(RUNS) == [("done", 1, "succeeded")]
    assert [status for status, *_ in world.sql(JOBS)] == ["queued"]
    assert world.sql(ENDS) == [("successful",)]
    stored = world.sql('select "timestamp", value from public.glucose_readings order by 1')
    assert stored == await world.truth()


async def test_what_cannot_be_finished_is_given_back_and_goes_on_with_another_worker(
    world: World, database: Any
) -> None:
    await world.connect()
    gate = Gate(world, "egvs")
    stopping = await runtime_of(world)
    async with working(stopping, database.service_dsn):
        await gate.reached.wait()

    assert world.sql(RUNS) == [("running", 1, None)]
    assert world.sql(JOBS) == [("queued", 1, True)]
    assert world.sql(ENDS) == []
    assert world.sql("select failure_count, reason from cgm_private.sync_state") == [(0, None)]
    assert stopping.vendors.counts.of(counts.JOBS_FAILED) == 0

    gate.open.set()
    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(JOBS) == [], "the job has ended")
    assert world.sql(RUNS) == [("done", 2, "succeeded")]


async def test_a_refresh_that_is_in_hand_is_stored_before_its_sync_is_given_back(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    gate = Gate(world, "token")
    async with working(await runtime_of(world), database.service_dsn) as stop:
        await gate.reached.wait()
        stop.set()
        await asyncio.sleep(3 * QUICK.finish_within_s)
        gate.open.set()

    assert world.sql(JOBS) == [("queued", 1, True)]
    assert world.sql("select generation, refresh_until from cgm_private.sync_state") == [(1, None)]
    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(JOBS) == [], "the job has ended")
    assert (world.token_calls("refresh_token"), world.reuses()) == (1, 0)
    assert world.status(connection_id) == ("connected", None)
