"""A refresh whose answer is lost: the old token once more, the ladder by time, then the person; no reading is lost."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sync_world import World, hours, open_world, refusal

from evercgm.actions.access import Access
from evercgm.actions.endings import Result
from evercgm.core.errors import GrantRefused
from evercgm.core.tokens import Secret, Tokens
from evercgm.storage import connections

READINGS = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
PREVIOUS = "select previous_refresh_token from cgm_private.sync_state where connection_id = %s"


@dataclass
class Clock:
    """Turned by hand; it begins far enough in the past for a whole ladder, so that the end lies in the present."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC) - timedelta(hours=31))


@pytest.fixture
async def past(database: Any, tmp_path: Path, clock: Clock) -> AsyncIterator[World]:
    async with open_world(database.admin_dsn, database.service_dsn, tmp_path / "cloud", clock) as world:
        yield world


async def sync(world: World, clock: Clock, connection_id: str) -> Result:
    result = await world.sync(connection_id, clock=clock)
    assert result is not None
    return result


async def turn_to_the_next_try(world: World, clock: Clock, connection_id: str) -> timedelta:
    """Turn the clock to when the connection is due; how far that was."""
    ((due,),) = world.sql("select next_sync_at from cgm_private.sync_state where connection_id = %s", connection_id)
    waited: timedelta = due - clock.now
    clock.now = due
    return waited


def end_access_token(world: World, connection_id: str) -> None:
    world.sql("update public.cgm_connections set token_expires_at = '2000-01-01' where id = %s", connection_id)


async def test_a_lost_answer_ends_with_the_person_and_the_gap_fills_after_reconnecting(
    past: World, clock: Clock
) -> None:
    connection_id = await past.connect()
    await sync(past, clock, connection_id)
    before = past.sql(READINGS, past.person_id)
    end_access_token(past, connection_id)
    clock.now += hours(0.5)

    past.weather.lost.add("token")
    lost = await sync(past, clock, connection_id)

    assert (lost.reason, past.status(connection_id)) == ("vendor_unavailable", ("connected", "vendor_unavailable"))
    assert (past.token_calls("refresh_token"), past.reuses()) == (1, 0)
    past.weather.lost.clear()
    assert await turn_to_the_next_try(past, clock, connection_id) < hours(0.1)
    await sync(past, clock, connection_id)
    assert (past.token_calls("refresh_token"), past.reuses()) == (2, 1)
    seen = []
    while past.status(connection_id)[0] == "error":
        for _asked_in_between in range(2):
            await sync(past, clock, connection_id)
        seen.append(await turn_to_the_next_try(past, clock, connection_id))
        await sync(past, clock, connection_id)
    assert seen == [hours(2), hours(4), hours(8), hours(16)]
    assert past.status(connection_id) == ("expired", "reconnect_needed")
    calls = len(past.weather.calls)
    assert (await sync(past, clock, connection_id)).reason == "reconnect_needed"
    assert len(past.weather.calls) == calls
    assert past.sql(READINGS, past.person_id) == before

    assert await past.connect() == connection_id
    await sync(past, clock, connection_id)
    assert past.status(connection_id) == ("connected", None)
    assert past.sql(READINGS, past.person_id) == await past.truth() != before


async def access_of(world: World, connection_id: str) -> Access:
    loaded = await connections.load_for_sync(world.db, connection_id)
    assert loaded is not None
    return Access(world.db, world.vendors, "dexcom", loaded)


async def keep(token: Secret) -> Secret:
    return token


async def store_a_pair_that_never_worked(world: World, connection_id: str) -> Secret:
    """A refresh whose new pair is not the vendor's: the token before it is the good one; returns that."""
    world.expire_access_token(connection_id)
    access = await access_of(world, connection_id)
    good = access.loaded.tokens.refresh
    assert await connections.take_refresh_lease(world.db, access.loaded)
    wrong = Tokens(Secret("wrong-access"), Secret("wrong-refresh"), datetime(2000, 1, 1, tzinfo=UTC))
    assert await connections.save_refreshed(world.db, access.loaded, wrong, good)
    return good


async def test_a_refused_token_gives_way_to_the_one_before_it(world: World) -> None:
    connection_id = await world.connect()
    await store_a_pair_that_never_worked(world, connection_id)

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert world.status(connection_id) == ("connected", None)
    assert (world.token_calls("refresh_token"), world.reuses()) == (2, 0)
    assert world.sql(PREVIOUS, connection_id) == [("",)]


async def test_the_token_before_is_tried_once_and_not_at_every_rung(world: World) -> None:
    connection_id = await world.connect()
    await store_a_pair_that_never_worked(world, connection_id)
    world.weather.answers["token"] = refusal("invalid_grant")

    for _ in range(3):
        with pytest.raises(GrantRefused):
            await (await access_of(world, connection_id)).call(keep)

    assert world.weather.calls.count("token") == 1 + 2 + 1 + 1
    assert world.sql(PREVIOUS, connection_id) == [("",)]


async def test_the_token_before_is_kept_while_the_vendor_is_away(world: World) -> None:
    connection_id = await world.connect()
    good = await store_a_pair_that_never_worked(world, connection_id)

    async def away_at_the_second_call(path: str) -> None:
        if world.weather.calls[-2:] == ["token", "token"]:
            world.weather.answers["token"] = (503, b"")

    world.weather.pause = away_at_the_second_call
    await world.sync(connection_id)
    world.weather.pause = None
    world.weather.answers.clear()

    assert world.status(connection_id) == ("connected", "vendor_unavailable")
    sealed = world.sql(PREVIOUS, connection_id)[0][0]
    assert world.db.vault.open(sealed, connections.previous_place(connection_id)) == good
    result = await world.sync(connection_id)
    assert result is not None
    assert result.outcome == "succeeded"


async def test_a_token_before_that_does_not_open_is_none(world: World) -> None:
    connection_id = await world.connect()
    await store_a_pair_that_never_worked(world, connection_id)
    world.sql("update cgm_private.sync_state set previous_refresh_token = 'v1.00000000.AAAA'")

    result = await world.sync(connection_id)

    assert result is not None
    assert result.reason == "sign_in_refused"
