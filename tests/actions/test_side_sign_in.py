"""A kept password is sent once, however many syncs of one connection meet an ended session at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from two_ways import TwoWays, open_two_ways

from evercgm.actions.disconnect import remove_route
from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection

LOG_IN = "LoginPublisherAccountById"
READ = "ReadPublisherLatestGlucoseValues"
TAKEN_OVER = "select 1 from cgm_private.sync_runs where starts > 1"
LEASE = "select refresh_until is not null from cgm_private.sync_state"
Deed = Callable[[], Awaitable[object]]


@pytest.fixture
async def ways(database: Any, tmp_path: Path) -> AsyncIterator[TwoWays]:
    async with open_two_ways(database, tmp_path) as opened:
        yield opened


async def job(ways: TwoWays, connection_id: str) -> Result | None:
    """As a worker takes it; a second one under the same number, where the first was silent for too long."""
    world = ways.world
    return await sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=7)


def end_session(ways: TwoWays) -> None:
    ways.world.sql("update cgm_private.routes set session_expires_at = now(), next_sync_at = now()")
    ways.world.sql("update cgm_private.sync_state set next_sync_at = now()")


def sign_ins(ways: TwoWays) -> int:
    return ways.calls().get(LOG_IN, 0)


def at_first(ways: TwoWays, call: str, happen: Deed) -> None:
    """``happen`` happens once, before the cloud hears of the first such ``call``."""
    waits = True

    async def pause(path: str) -> None:
        nonlocal waits
        if path == call and waits:
            waits = False
            await happen()

    ways.weather.pause = pause


async def at_once(ways: TwoWays, connection_id: str) -> list[Result | None]:
    """Two syncs; the second has met the ended session, too, before the sign-in of the first is answered."""
    second: list[asyncio.Task[Result | None]] = []

    async def begin_second() -> None:
        second.append(asyncio.create_task(job(ways, connection_id)))
        async with asyncio.timeout(60):
            while ways.world.sql(TAKEN_OVER) == [] and not second[0].done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # Long enough for a whole sync that does not wait.
        await asyncio.wait(second, timeout=2)

    at_first(ways, LOG_IN, begin_second)
    first = await job(ways, connection_id)
    return [first, *await asyncio.gather(*second)]


@pytest.fixture(params=["beside the official way", "alone"])
async def ended(ways: TwoWays, request: Any) -> str:
    """A connection with Share, alone or beside the official way, whose session has ended; its id."""
    if request.param != "alone":
        await ways.world.connect()
    connection_id = await ways.add_share()
    end_session(ways)
    return connection_id


async def test_two_syncs_at_once_sign_in_once_and_both_read_with_its_session(ways: TwoWays, ended: str) -> None:
    before, reads = sign_ins(ways), ways.calls()[READ]

    first, second = await at_once(ways, ended)

    assert (sign_ins(ways), ways.calls()[READ]) == (before + 1, reads + 2)
    assert first is not None
    assert second is not None
    assert first.outcome == "cancelled"
    # The first one may still have stored what it read.
    assert second.outcome in ("succeeded", "nothing_new")
    assert len(ways.stored()) > 250
    assert ways.world.status(ended) == ("connected", None)
    assert ways.routes() == [("dexcom_share", None, False)]
    assert ways.world.sql(LEASE) == [(False,)]


async def test_a_password_that_changed_is_sent_once_by_two_syncs_at_once(ways: TwoWays, ended: str) -> None:
    ways.trouble("password_changed", "another")
    before = sign_ins(ways)

    await at_once(ways, ended)

    assert sign_ins(ways) == before + 1
    assert ways.routes() == [("dexcom_share", "wrong_password", True)]
    own = ways.world.token_calls("authorization_code") > 0
    assert ways.world.status(ended) == (("connected", None) if own else ("expired", "wrong_password"))


async def test_after_an_outage_that_one_of_two_met_the_other_does_not_sign_in_at_once(
    ways: TwoWays, ended: str
) -> None:
    ways.weather.answers[LOG_IN] = (503, b"")
    later = "select next_sync_at > now() + interval '20 s', failure_count from cgm_private.routes"

    await at_once(ways, ended)

    assert ways.weather.calls.count(LOG_IN) == 1 + 1
    assert ways.routes() == [("dexcom_share", "vendor_unavailable", False)]
    assert ways.world.sql(later) == [(True, 1)]
    assert ways.world.status(ended)[0] == "connected"


async def test_who_is_removed_while_another_signs_in_is_left_alone(ways: TwoWays) -> None:
    world = ways.world
    await world.connect()
    connection_id = await ways.add_share()
    end_session(ways)
    world.sql("update cgm_private.sync_state set refresh_until = now() + interval '1 minute'")
    before = sign_ins(ways)

    waiting = asyncio.create_task(job(ways, connection_id))
    await asyncio.sleep(0.5)
    await remove_route(world.db, world.caller, connection_id, "dexcom_share")
    result = await asyncio.wait_for(waiting, 20)

    assert (result and result.outcome, sign_ins(ways)) == ("succeeded", before)
    assert world.status(connection_id) == ("connected", None)


async def test_a_failed_sign_in_does_not_hold_up_the_refresh_of_the_official_way(ways: TwoWays) -> None:
    world = ways.world
    connection_id = await world.connect()
    await ways.add_share()
    end_session(ways)
    world.expire_access_token(connection_id)
    ways.weather.answers[LOG_IN] = (503, b"")

    result = await asyncio.wait_for(job(ways, connection_id), 20)

    assert (result and result.outcome, world.token_calls("refresh_token")) == ("succeeded", 1)
    assert ways.routes() == [("dexcom_share", "vendor_unavailable", False)]


async def test_a_sync_that_is_stopped_while_it_signs_in_still_stores_the_session_for_the_next_one(
    ways: TwoWays,
) -> None:
    connection_id = await ways.add_share()
    end_session(ways)
    before = sign_ins(ways)
    here = asyncio.Event()

    async def hang() -> None:
        here.set()
        await asyncio.sleep(0.5)

    at_first(ways, LOG_IN, hang)
    stopped = asyncio.create_task(job(ways, connection_id))
    await here.wait()
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped

    assert ways.world.sql(LEASE) == [(False,)]
    result = await asyncio.wait_for(job(ways, connection_id), 20)
    assert (result and result.outcome, ways.world.status(connection_id)) == ("succeeded", ("connected", None))
    assert sign_ins(ways) == before + 1


async def test_while_a_dead_ones_lease_lasts_nobody_signs_in_and_then_one_does(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    end_session(ways)
    ways.world.sql("update cgm_private.sync_state set refresh_until = now() + interval '1 minute'")
    before = sign_ins(ways)

    waiting = asyncio.create_task(job(ways, connection_id))
    await asyncio.sleep(1)
    assert sign_ins(ways) == before
    ways.world.sql("update cgm_private.sync_state set refresh_until = now()")
    result = await asyncio.wait_for(waiting, 20)

    assert (result and result.outcome, sign_ins(ways)) == ("succeeded", before + 1)


async def test_a_session_is_stored_though_the_database_was_away_for_a_moment(ways: TwoWays) -> None:
    connection_id = await ways.add_share()
    end_session(ways)
    before = sign_ins(ways)

    async def gone() -> None:
        ways.world.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )

    at_first(ways, LOG_IN, gone)
    result = await job(ways, connection_id)

    assert (result and result.outcome, sign_ins(ways)) == ("succeeded", before + 1)
