"""A database that goes away: the worker comes back by itself, and what was in hand is done once."""

from typing import Any

import psycopg
from sync_world import World
from test_stopping import ENDS, JOBS, RUNS, Gate
from worker_world import runtime_of, until, working

from evercgm.core import counts

CUT = """select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'evercgm worker'"""
PUT_OFF = "select next_sync_at > now() + interval '1 minute' from cgm_private.sync_state"
STORED = 'select "timestamp", value from public.glucose_readings order by 1'


async def test_a_worker_whose_connection_is_cut_works_on_by_another_one(world: World, database: Any) -> None:
    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(CUT), "the worker listens")
        await world.connect()

        await until(lambda: world.sql(RUNS) == [("done", 1, "succeeded")], "it has synced")


async def test_what_was_in_hand_when_the_connection_was_cut_is_done_once(world: World, database: Any) -> None:
    connection_id = await world.connect()
    gate = Gate(world, "egvs")
    async with working(await runtime_of(world), database.service_dsn):
        await gate.reached.wait()
        assert world.sql(CUT) == [(True,)]
        gate.open.set()
        await until(lambda: world.sql(RUNS)[0][0] == "done", "it has synced")
        await until(lambda: world.sql(JOBS) == [], "its job has ended")

    assert [(state, outcome) for state, _starts, outcome in world.sql(RUNS)] == [("done", "succeeded")]
    assert world.sql(STORED) == await world.truth()
    assert world.status(connection_id) == ("connected", None)


async def test_a_job_that_lost_the_database_is_tried_again_and_is_no_failure(world: World, database: Any) -> None:
    await world.connect()
    asked = 0

    async def away_at_first(*words: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise psycopg.OperationalError
        return await world.vendors.providers["dexcom"].survey(*words)

    runtime = await runtime_of(world, survey=away_at_first)
    async with working(runtime, database.service_dsn):
        await until(lambda: world.sql(JOBS) == [("queued", 1, True)], "the job is put back")
        assert world.sql(PUT_OFF) == [(False,)]
        world.sql("update cgm_jobs.pgqueuer set execute_after = now()")
        await until(lambda: world.sql(JOBS) == [], "its job has ended")

    assert world.sql(RUNS) == [("done", 2, "succeeded")]
    assert world.sql(ENDS) == [("successful",)]
    assert runtime.vendors.counts.of(counts.JOBS_FAILED) == 0
