"""Whose consent has ended may still let Share rest: a pause holds both ways, and a resume wakes what there was."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sync_world import World
from two_ways import TwoWays, open_two_ways

from evercgm.actions.disconnect import remove_route
from evercgm.actions.pause import pause, resume
from evercgm.actions.request_sync import request_sync
from evercgm.core.connection import message_for
from evercgm.core.errors import NothingToSync, ReconnectNeeded
from evercgm.worker.schedule import enqueue_due

DUE = "update cgm_private.routes set next_sync_at = now() - interval '1 second'"
NEXT = "select next_sync_at from cgm_private.sync_state"
MESSAGE = "select error_message from public.cgm_connections"


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        yield opened


async def rest(world: World, connection_id: str) -> None:
    await pause(world.db, world.vendors, world.caller, connection_id)


async def wake(world: World, connection_id: str) -> None:
    await resume(world.db, world.caller, connection_id)


def end_consent(ways: TwoWays, reason: str | None = "reconnect_needed") -> None:
    """As the ladder's end leaves it; nothing waits for its turn."""
    world = ways.world
    world.sql("update public.cgm_connections set status = 'expired', error_message = %s", message_for(reason))
    world.sql("update cgm_private.sync_state set next_sync_at = null, reason = %s", reason)
    world.sql("delete from cgm_private.sync_runs")
    world.sql("delete from cgm_jobs.pgqueuer")


@pytest.fixture
async def expired(ways: TwoWays) -> str:
    """A connection whose consent has ended, and beside it Share, which works; its id."""
    connection_id = await ways.world.connect()
    await ways.add_share()
    end_consent(ways)
    return connection_id


async def test_a_pause_holds_share_too_and_a_resume_lets_it_go_on_beside_the_ended_consent(
    ways: TwoWays, expired: str
) -> None:
    world = ways.world
    world.sql(DUE)
    before, asked = world.sql(MESSAGE), list(world.weather.calls)

    await rest(world, expired)

    assert (world.status(expired), world.sql(MESSAGE)) == (("disconnected", "reconnect_needed"), [(None,)])
    assert await enqueue_due(world.db) == 0
    await world.sync(expired, trigger="schedule")
    assert ways.stored() == []

    await wake(world, expired)

    assert (world.status(expired), world.sql(MESSAGE)) == (("expired", "reconnect_needed"), before)
    assert world.sql(NEXT) == [(None,)]
    assert await enqueue_due(world.db) == 1
    result = await world.sync(expired, trigger="schedule")
    assert (result and result.outcome, set(ways.by_way())) == ("succeeded", {"dexcom_share"})
    assert (world.status(expired), world.weather.calls) == (("expired", "reconnect_needed"), asked)


async def test_twice_is_as_good_as_once_where_the_consent_has_ended(ways: TwoWays, expired: str) -> None:
    world = ways.world

    for deed, status in ((rest, "disconnected"), (rest, "disconnected"), (wake, "expired"), (wake, "expired")):
        await deed(world, expired)

        assert world.status(expired) == (status, "reconnect_needed")
    told = "select action from cgm_private.audit_events where action in ('paused', 'resumed') order by id"
    assert world.sql(told) == [("paused",), ("resumed",)]


async def test_an_ended_consent_that_nobody_gave_a_reason_for_is_still_ended_after_a_pause(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    end_consent(ways, reason=None)

    for deed in (rest, wake):
        await deed(world, connection_id)

    assert world.status(connection_id) == ("expired", "reconnect_needed")


async def test_a_consent_that_ended_during_the_pause_holds_share_up_no_longer_than_the_pause(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    await rest(world, connection_id)
    world.sql("update cgm_private.sync_state set reason = 'reconnect_needed'")

    await wake(world, connection_id)

    assert world.status(connection_id) == ("expired", "reconnect_needed")
    assert world.sql(NEXT) == [(None,)]


@pytest.mark.parametrize("gone", ["waits for a sign-in", "removed"])
async def test_where_share_does_not_work_any_more_only_a_reconnect_helps(
    ways: TwoWays, expired: str, gone: str
) -> None:
    world = ways.world

    async def end_share() -> None:
        if gone == "removed":
            await remove_route(world.db, world.caller, expired, "dexcom_share")
        else:
            world.sql("update cgm_private.routes set next_sync_at = null, reason = 'password_needed'")

    await rest(world, expired)
    await end_share()
    with pytest.raises(ReconnectNeeded):
        await wake(world, expired)
    assert world.status(expired) == ("disconnected", "reconnect_needed")

    world.sql("update public.cgm_connections set status = 'expired'")
    for deed in (rest, wake):
        with pytest.raises(ReconnectNeeded):
            await deed(world, expired)
    assert world.status(expired) == ("expired", "reconnect_needed")


async def test_who_signs_in_to_share_anew_during_a_pause_can_resume_it(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await ways.add_share(keep=False)
    await rest(world, connection_id)
    world.sql("update cgm_private.sync_state set reason = 'password_needed'")
    world.sql("update cgm_private.routes set next_sync_at = null, reason = 'password_needed'")
    with pytest.raises(ReconnectNeeded):
        await wake(world, connection_id)

    await ways.add_share()
    await wake(world, connection_id)

    result = await world.sync(connection_id, trigger="schedule")
    assert (result and result.outcome, world.status(connection_id)) == ("succeeded", ("connected", None))


async def test_a_sync_that_is_asked_for_during_the_pause_is_refused_as_paused(ways: TwoWays, expired: str) -> None:
    world = ways.world
    which: dict[str, Any] = {"connection_id": expired, "person_id": None, "start": None, "end": None}
    await rest(world, expired)

    with pytest.raises(NothingToSync, match="paused"):
        await request_sync(world.db, world.caller, **which)


async def test_share_beside_an_ended_consent_leaves_the_connections_own_way_without_a_time(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    end_consent(ways)

    await ways.add_share()

    assert (world.status(connection_id), world.sql(NEXT)) == (("expired", "reconnect_needed"), [(None,)])
    assert await enqueue_due(world.db) == 1
    result = await world.sync(connection_id, trigger="schedule")
    assert result is not None
    assert result.outcome == "succeeded"
    world.sql("delete from cgm_jobs.pgqueuer")
    assert await enqueue_due(world.db) == 0


async def test_a_refusal_that_comes_while_somebody_resumes_is_seen(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await rest(world, connection_id)

    with psycopg.connect(world.admin_dsn) as other:
        # As a sync that was under way when it was paused, and ends now.
        other.execute("select 1 from public.cgm_connections for update")
        waking = asyncio.create_task(wake(world, connection_id))
        for _ in range(400):
            if world.sql("select 1 from pg_locks where not granted"):
                break
            await asyncio.sleep(0.05)
        other.execute("update cgm_private.sync_state set reason = 'reconnect_needed'")

    with pytest.raises(ReconnectNeeded):
        await waking
    assert world.status(connection_id) == ("disconnected", "reconnect_needed")
