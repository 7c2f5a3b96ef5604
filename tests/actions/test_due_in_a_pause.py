"""While a vendor is paused nothing is due there by itself; when the pause has ended, one connection is its probe."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sync_world import World, walk_consent

from evercgm.actions.request_sync import request_sync
from evercgm.actions.sync import sync_connection
from evercgm.core.errors import CallsHeldBack
from evercgm.storage import connections, gauges

PAUSE = """insert into cgm_private.provider_pauses (provider, region, until, reason)
           values ('dexcom', %s, now() + %s, 'rate_limited')"""
STATE = """select c.status::text, s.reason, s.failure_count, s.next_sync_at
           from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id order by c.id"""


@pytest.fixture
async def three(world: World) -> list[str]:
    """Three connections that are due, the one that is longest overdue first; nobody waits for one."""
    for number in range(3):
        person_id = str(uuid4())
        world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, world.caller.owner_id)
        await walk_consent(world.db, world.vendors, world.caller, person_id, "User7")
        world.sql(
            "update cgm_private.sync_state set next_sync_at = now() - %s where person_id = %s",
            timedelta(minutes=10 - number), person_id,
        )  # fmt: skip
    world.sql("delete from cgm_private.sync_runs")
    return [row[0] for row in world.sql("select connection_id from cgm_private.sync_state order by next_sync_at")]


async def due(world: World) -> tuple[list[str], list[str]]:
    async with world.db.as_worker() as conn:
        return await connections.due(conn, 100)


async def backlog(world: World) -> int:
    load = await gauges.look(world.db, [("dexcom", "us")])
    assert load is not None
    return load.due


async def test_those_that_somebody_asked_for_take_no_place_from_those_that_are_due(
    world: World, three: list[str]
) -> None:
    for asked in three[:2]:
        await request_sync(world.db, world.caller, connection_id=asked, person_id=None, start=None, end=None)
    world.sql("update cgm_private.sync_state set next_sync_at = null where connection_id = any(%s)", three[:2])

    async with world.db.as_worker() as conn:
        assert await connections.due(conn, 1) == (three[:1], three[2:])


async def test_in_a_pause_nothing_is_due_and_nothing_is_a_backlog(world: World, three: list[str]) -> None:
    assert (await due(world), await backlog(world)) == (([], three), 3)

    world.sql(PAUSE, "us", timedelta(minutes=10))

    assert (await due(world), await backlog(world)) == (([], []), 0)


async def test_a_pause_of_another_region_concerns_nobody_else(world: World, three: list[str]) -> None:
    world.sql("update cgm_private.sync_state set region = 'eu' where connection_id = %s", three[1])

    world.sql(PAUSE, "eu", timedelta(minutes=10))

    assert (await due(world), await backlog(world)) == (([], [three[0], three[2]]), 2)


async def test_when_it_has_ended_the_longest_overdue_goes_first_and_the_rest_after_its_answer(
    world: World, three: list[str]
) -> None:
    world.sql("update cgm_private.sync_state set region = 'eu' where connection_id = %s", three[0])

    world.sql(PAUSE, "us", timedelta(seconds=-1))

    assert await due(world) == ([], three[:2])
    world.sql("update cgm_private.provider_pauses set over = true")
    assert await due(world) == ([], three)


async def test_longest_overdue_goes_first_over_all_regions_past_one_that_is_paused(
    world: World, three: list[str]
) -> None:
    for region, connection_id in zip(("jp", "us", "eu"), three, strict=True):
        world.sql("update cgm_private.sync_state set region = %s where connection_id = %s", region, connection_id)

    async with world.db.as_worker() as conn:
        assert await connections.due(conn, 2) == ([], three[:2])

    world.sql(PAUSE, "jp", timedelta(minutes=10))
    async with world.db.as_worker() as conn:
        assert await connections.due(conn, 1) == ([], three[1:2])
        assert await connections.due(conn, 2) == ([], three[1:])


async def test_a_pause_of_another_provider_concerns_nobody_else(world: World, three: list[str]) -> None:
    other = three[1]
    world.sql("update public.cgm_connections set provider = 'libre' where id = %s", other)
    world.sql("update cgm_private.sync_state set provider = 'libre' where connection_id = %s", other)

    world.sql(PAUSE, "us", timedelta(minutes=10))

    assert (await due(world), await backlog(world)) == (([], [other]), 1)


async def test_a_job_that_waited_when_the_pause_began_spends_nothing_and_its_connection_stays_due(
    world: World, three: list[str]
) -> None:
    before = world.sql(STATE)
    world.sql(PAUSE, "us", timedelta(minutes=10))
    world.weather.calls.clear()

    for job_id, connection_id in enumerate(three, 1):
        job = await sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=job_id)
        assert job is None

    assert world.weather.calls == []
    assert world.sql("select count(*) from cgm_private.sync_runs") == [(0,)]
    assert world.sql(STATE) == before


async def test_who_asked_before_the_pause_is_still_served_and_who_asks_in_it_is_told(
    world: World, three: list[str]
) -> None:
    asked, other = three[:2]
    await request_sync(world.db, world.caller, connection_id=asked, person_id=None, start=None, end=None)
    world.sql(PAUSE, "us", timedelta(minutes=10))

    assert await due(world) == ([asked], [])
    with pytest.raises(CallsHeldBack) as told:
        await request_sync(world.db, world.caller, connection_id=other, person_id=None, start=None, end=None)
    assert 540 <= (told.value.retry_after_s or 0) <= 600
