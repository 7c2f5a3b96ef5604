"""A person asks for a sync of one connection or of several."""

import time
import uuid

import pytest
from sync_world import World

from evercgm.actions.request_sync import RequestedRun, request_sync
from evercgm.core.errors import SyncTooSoon


async def ask(world: World, connection_id: str | None = None) -> list[RequestedRun]:
    return await request_sync(world.db, world.caller, connection_id=connection_id, person_id=None, start=None, end=None)


async def two(world: World) -> tuple[str, str]:
    """Two connections of one owner, of two persons; no run is open."""
    first, first_person = await world.connect(), world.person_id
    world.person_id = str(uuid.uuid4())
    world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', world.person_id, world.caller.owner_id)
    second = await world.connect("User6")
    world.person_id = first_person
    world.sql("delete from cgm_private.sync_runs")
    return first, second


def end_runs(world: World) -> None:
    world.sql("update cgm_private.sync_runs set state = 'done', outcome = 'succeeded' where state <> 'done'")


async def test_one_that_is_too_soon_does_not_refuse_the_others(world: World) -> None:
    first, second = await two(world)
    await ask(world, first)
    end_runs(world)

    runs = await ask(world)

    assert [run.connection_id for run in runs] == [second]


async def test_where_all_are_too_soon_the_shortest_wait_is_told(world: World) -> None:
    first, _second = await two(world)
    await ask(world)
    end_runs(world)
    since = time.monotonic()
    world.sql("update cgm_private.sync_runs set requested_at = now() - interval '40 s' where connection_id = %s", first)

    with pytest.raises(SyncTooSoon) as caught:
        await ask(world)

    # Of the other one 60 s.
    assert 20 - (time.monotonic() - since) - 1 <= caught.value.retry_after_s <= 20


async def test_a_scheduled_run_just_now_does_not_make_a_person_wait(world: World) -> None:
    first, _second = await two(world)
    await ask(world, first)
    end_runs(world)
    world.sql("update cgm_private.sync_runs set trigger = 'schedule'")

    assert len(await ask(world, first)) == 1
