"""A vendor that ends a refresh token which nobody uses for a week does not end that of a connection at rest."""

from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from sync_world import World, refusal

from evercgm.actions.pause import pause, resume
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.worker.schedule import enqueue_due

A_DAY = timedelta(days=1)
LEFT = "select keep_alive_at - now() from cgm_private.sync_state"
TOKENS = "select refresh_token from public.cgm_connections"


@pytest.fixture
def daily(world: World) -> World:
    """A vendor whose refresh tokens want to be used daily."""
    dexcom = replace(world.vendors.providers["dexcom"], keep_alive=A_DAY)
    world.vendors = Vendors({**PROVIDERS, "dexcom": dexcom}, world.vendors.apps, {("dexcom", "us"): world.http})
    return world


@pytest.fixture
async def at_rest(daily: World) -> str:
    world = daily
    connection_id = await world.connect()
    await world.sync(connection_id)
    await pause(world.db, world.vendors, world.caller, connection_id)
    return connection_id


def is_time(world: World) -> None:
    world.sql("update cgm_private.sync_state set keep_alive_at = now() - interval '1 second'")


def left(world: World) -> timedelta | None:
    waits = world.sql(LEFT)[0][0]
    assert waits is None or isinstance(waits, timedelta)
    return waits


async def turn(world: World, connection_id: str) -> int:
    """The scheduler's turn and the job that comes of it; how many were enqueued."""
    enqueued = await enqueue_due(world.db)
    await world.sync(connection_id, trigger="schedule")
    world.sql("delete from cgm_jobs.pgqueuer")
    return enqueued


async def test_only_the_token_is_renewed_and_the_connection_goes_on_resting(world: World, at_rest: str) -> None:
    before, calls = world.sql(TOKENS), len(world.weather.calls)
    assert await turn(world, at_rest) == 0
    is_time(world)

    assert await turn(world, at_rest) == 1

    assert world.weather.calls[calls:] == ["token"]
    assert world.sql(TOKENS) != before
    assert world.status(at_rest) == ("disconnected", None)
    waits = left(world)
    assert waits is not None
    assert A_DAY * 0.79 < waits <= A_DAY
    assert await turn(world, at_rest) == 0
    await resume(world.db, world.caller, at_rest)
    assert left(world) is None
    result = await world.sync(at_rest)
    assert result is not None
    assert (result.reason, world.status(at_rest)) == (None, ("connected", None))
    assert world.reuses() == 0


@pytest.mark.parametrize(
    ("answer", "hours"),
    [
        ((503, b""), 1),
        ((500, b"<html>"), 1),
        ((401, b'{"error": "invalid_client"}'), 1),
        (refusal("invalid_grant"), 24),
    ],
    ids=["outage", "junk", "an operator's mistake", "refused"],
)
async def test_a_failure_changes_nothing_and_is_tried_again(
    world: World, at_rest: str, answer: tuple[int, bytes], hours: int
) -> None:
    before = world.sql(TOKENS)
    is_time(world)
    world.weather.answers["token"] = answer

    assert await turn(world, at_rest) == 1

    waits = left(world)
    assert waits is not None
    assert timedelta(hours=hours) * 0.79 < waits <= timedelta(hours=hours)
    assert world.status(at_rest) == ("disconnected", None)
    assert world.sql(TOKENS) == before
    del world.weather.answers["token"]
    is_time(world)
    await turn(world, at_rest)
    assert world.sql(TOKENS) != before


async def test_tokens_that_no_key_opens_are_left_alone_for_an_hour(world: World, at_rest: str) -> None:
    is_time(world)
    world.sql("update public.cgm_connections set refresh_token = access_token")

    assert await turn(world, at_rest) == 1

    assert world.status(at_rest) == ("disconnected", None)
    assert await turn(world, at_rest) == 0
    waits = left(world)
    assert waits is not None
    assert timedelta(minutes=55) < waits <= timedelta(hours=1)


async def test_whose_access_has_ended_is_asked_for_no_more(world: World, at_rest: str) -> None:
    is_time(world)
    world.sql("update cgm_private.sync_state set reason = 'reconnect_needed'")
    calls = len(world.weather.calls)

    await turn(world, at_rest)

    assert (world.weather.calls[calls:], left(world)) == ([], None)


async def test_who_was_woken_behind_our_back_is_not_due_for_ever(world: World, at_rest: str) -> None:
    is_time(world)
    world.sql("update public.cgm_connections set status = 'connected'")

    assert await turn(world, at_rest) == 0
    await world.sync(at_rest)

    assert left(world) is None


async def test_a_consent_during_the_pause_ends_it(world: World, at_rest: str) -> None:
    is_time(world)

    await world.consent()

    assert left(world) is None


async def test_a_vendor_whose_tokens_wait_is_left_alone(world: World) -> None:
    connection_id = await world.connect()

    await pause(world.db, world.vendors, world.caller, connection_id)

    assert left(world) is None


def test_carelink_is_asked_daily() -> None:
    assert PROVIDERS["medtronic"].keep_alive == A_DAY


async def test_an_operators_mistake_calls_the_operator(world: World, at_rest: str) -> None:
    is_time(world)
    world.weather.answers["token"] = (401, b'{"error": "invalid_client"}')

    with capture_logs() as logs:
        await turn(world, at_rest)

    assert [line["reason"] for line in logs if line["event"] == "operator_alarm"] == ["operator_must_act"]


async def test_an_ended_consent_is_not_asked_for_while_it_rests_beside_share(daily: World) -> None:
    connection_id = await daily.connect()
    daily.sql("update public.cgm_connections set status = 'expired'")
    daily.sql("update cgm_private.sync_state set reason = 'reconnect_needed', next_sync_at = null")
    daily.sql(
        "insert into cgm_private.routes (id, connection_id, person_id, route, region, session_expires_at)"
        " select 'r', id, person_id, 'dexcom_share', 'us', now() from public.cgm_connections"
    )

    await pause(daily.db, daily.vendors, daily.caller, connection_id)

    assert daily.status(connection_id)[0] == "disconnected"
    assert left(daily) is None
