"""What a pause costs a worker: not one run; when it has ended, one probe, and then everybody."""

import asyncio
from typing import Any

from budget_world import set_faults, worker_of
from sync_world import World
from test_lane_for_people import connect
from worker_world import Pace, runtime_of, until, working

from evercgm.core import counts

HELD_BACK = "update cgm_private.provider_pauses set until = now() + interval '1 hour'"
ENDED = "update cgm_private.provider_pauses set until = now() - interval '1 second'"
RUNS = "select outcome, count(*) from cgm_private.sync_runs group by 1 order by 1"
TAKEN = "select count(*) from cgm_jobs.pgqueuer_log where status = 'picked'"
STILL_DUE = "select connection_id from cgm_private.sync_state where next_sync_at <= now()"
DUE = "update cgm_private.sync_state set next_sync_at = now()"


async def test_of_many_that_are_due_none_is_spent_in_a_pause_and_all_are_synced_after_it(
    world: World, database: Any
) -> None:
    ids = await connect(world, 6)
    async with worker_of(world, database.service_dsn) as metered:
        await set_faults(world, rate_limited="")
        assert await metered.get() == 429
        await set_faults(world)
        world.sql(HELD_BACK)
        world.sql(DUE)
        world.vendors = metered.vendors
        runtime = await runtime_of(world)
        async with working(runtime, database.service_dsn, Pace(concurrency=4)):
            # Two turns of the schedule.
            await asyncio.sleep(11)
            assert (world.sql(RUNS), world.sql(TAKEN)) == ([], [(0,)])

            world.sql(ENDED)
            await until(lambda: world.sql(STILL_DUE) == [], "all are synced")

    assert len(ids) == sum(count for outcome, count in world.sql(RUNS) if outcome != "failed")
    assert runtime.vendors.counts.of(counts.SYNCS, "dexcom", "us", "failed", "rate_limited") == 0
