"""Old windows wait for a later sync while other people's new readings wait for a worker, and not for ever."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sync_world import World

from evercgm.storage import jobs
from evercgm.worker.schedule import enqueue_due

HISTORY = "select history_done_at is not null, history_start from cgm_private.sync_state"
PRIORITIES = "select priority, status::text from cgm_jobs.pgqueuer order by id"


async def somebody_waits() -> bool:
    return True


def stored(world: World) -> list[tuple[Any, ...]]:
    return world.sql('select "timestamp", value from public.glucose_readings where person_id = %s', world.person_id)


@pytest.fixture
def short_windows(world: World) -> None:
    """Two days a window, as of a vendor that gives no more at once: the account's six days are several windows."""
    provider = replace(world.vendors.providers["dexcom"], longest_window=timedelta(days=2))
    world.vendors = replace(world.vendors, providers={"dexcom": provider})


async def test_of_history_the_newest_part_comes_at_once_and_the_rest_when_nobody_waits(
    world: World, short_windows: None
) -> None:
    connection_id = await world.connect()

    await world.sync(connection_id, others_wait=somebody_waits)
    some = len(stored(world))
    assert 0 < some < len(await world.truth())
    assert world.sql(HISTORY)[0][0] is False

    await world.sync(connection_id)

    assert len(stored(world)) == len(await world.truth())
    assert world.sql(HISTORY)[0][0] is True


async def test_what_is_new_never_gives_way(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    world.sql("delete from public.glucose_readings where \"timestamp\" > now() - interval '3 hours'")

    await world.sync(connection_id, others_wait=somebody_waits)

    assert len(stored(world)) == len(await world.truth())


async def test_history_that_has_waited_for_half_a_day_waits_no_longer(world: World, short_windows: None) -> None:
    connection_id = await world.connect()
    world.sql("update cgm_private.sync_state set connected_at = now() - interval '13 hours'")

    await world.sync(connection_id, others_wait=somebody_waits)

    assert len(stored(world)) == len(await world.truth())


async def test_who_asks_overtakes_the_queue_though_the_connection_waits_in_it_already(world: World) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_jobs.pgqueuer")
    world.sql("delete from cgm_private.sync_runs")
    await enqueue_due(world.db)
    assert world.sql(PRIORITIES) == [(jobs.DUE_PRIORITY, "queued")]

    async with world.db.as_worker() as conn:
        await jobs.enqueue_syncs(conn, [connection_id], jobs.PERSON_PRIORITY)

    assert world.sql(PRIORITIES) == [(jobs.PERSON_PRIORITY, "queued")]
    await enqueue_due(world.db)
    assert world.sql(PRIORITIES) == [(jobs.PERSON_PRIORITY, "queued")]


async def test_what_somebody_asked_for_is_found_again_with_their_priority(world: World) -> None:
    await world.connect()
    world.sql("delete from cgm_jobs.pgqueuer")

    await enqueue_due(world.db)

    assert world.sql(PRIORITIES) == [(jobs.PERSON_PRIORITY, "queued")]


async def test_syncs_that_wait_are_seen_and_those_under_way_are_not(world: World) -> None:
    await world.connect()
    assert await jobs.are_waiting(world.db)
    world.sql("update cgm_jobs.pgqueuer set status = 'picked'")
    assert not await jobs.are_waiting(world.db)


async def test_a_quiet_connection_is_asked_less_often_until_somebody_asks(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    world.sql("delete from cgm_private.sync_runs")
    waits = []
    for _ in range(8):
        await world.sync(connection_id, trigger="schedule")
        waits.append(round(wait_s(world) / 300))
    await world.sync(connection_id, trigger="person")

    assert waits == [1, 1, 1, 2, 3, 4, 4, 4]
    assert round(wait_s(world) / 300) == 1


def wait_s(world: World) -> float:
    ((at, now),) = world.sql("select next_sync_at, now() from cgm_private.sync_state")
    assert isinstance(at, datetime)
    return float((at - now).total_seconds())
