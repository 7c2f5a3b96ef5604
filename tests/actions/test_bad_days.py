"""Syncs on bad days: statuses, next times, and nothing lost or doubled when it is over."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sync_world import Answer, World, hours, refusal

from evercgm.actions.disconnect import disconnect
from evercgm.actions.request_sync import request_sync
from evercgm.core.errors import BadInput, ReconnectNeeded


def stored(world: World) -> list[tuple[Any, ...]]:
    query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1, 2'
    return world.sql(query, world.person_id)


def next_in(world: World, connection_id: str) -> timedelta | None:
    row = world.sql("select next_sync_at from cgm_private.sync_state where connection_id = %s", connection_id)
    return row[0][0] - datetime.now(UTC) if row[0][0] else None


@pytest.mark.parametrize(
    ("path", "answer", "status", "reason", "least", "most"),
    [
        ("egvs", (503, b""), "connected", "vendor_unavailable", hours(0), hours(0.1)),
        ("egvs", (429, b""), "connected", "rate_limited", hours(0), hours(0.1)),
        ("egvs", (403, b""), "error", "vendor_denied", hours(11), hours(13)),
        ("egvs", (200, b"<html>"), "error", "vendor_changed", hours(0.5), hours(2)),
        ("egvs", (400, b""), "error", "vendor_changed", hours(0.5), hours(2)),
        ("token", refusal("invalid_client"), "error", "operator_must_act", hours(0.5), hours(2)),
        ("token", refusal("invalid_grant"), "error", "sign_in_refused", hours(1.9), hours(2.1)),
        ("token", (500, b""), "connected", "vendor_unavailable", hours(0), hours(0.1)),
    ],
)
async def test_a_bad_day_is_named_and_over_when_it_is_over(
    world: World, path: str, answer: Answer, status: str, reason: str, least: timedelta, most: timedelta
) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers[path] = answer

    bad = await world.sync(connection_id)

    assert bad is not None
    assert (bad.outcome, world.status(connection_id)) == ("failed", (status, reason))
    wait = next_in(world, connection_id)
    assert wait is not None
    assert least <= wait <= most
    world.weather.answers.clear()
    good = await world.sync(connection_id)
    assert good is not None
    assert good.outcome == "succeeded"
    assert world.status(connection_id) == ("connected", None)
    assert len(stored(world)) == len(set(stored(world))) > 1500


async def test_the_grant_ladder_is_climbed_by_time_and_never_by_asking(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers["token"] = refusal("invalid_grant")
    seen: list[tuple[str, float | None]] = []

    for _rung in range(5):
        for _asked_again in range(3):
            await world.sync(connection_id)
        wait = next_in(world, connection_id)
        seen.append((world.status(connection_id)[0], round(wait / hours(1)) if wait else None))
        world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = %s", connection_id)

    assert seen == [("error", 2), ("error", 4), ("error", 8), ("error", 16), ("expired", None)]
    world.weather.answers.clear()
    asked_again = await world.sync(connection_id)
    assert asked_again is not None
    assert asked_again.reason == "reconnect_needed"
    await world.connect()
    mended = await world.sync(connection_id)
    assert mended is not None
    assert mended.outcome == "succeeded"


async def test_an_expired_connection_is_not_synced_by_asking(world: World) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_private.sync_runs")
    world.sql("update public.cgm_connections set status = 'expired' where id = %s", connection_id)

    with pytest.raises(ReconnectNeeded):
        await request_sync(world.db, world.caller, connection_id=connection_id, person_id=None, start=None, end=None)

    assert world.sql("select count(*) from cgm_private.sync_runs") == [(0,)]


@pytest.mark.parametrize(("start", "end"), [(hours(1), None), (hours(-1), hours(-2)), (hours(-1), hours(-1))])
async def test_a_window_that_holds_nothing_is_refused(world: World, start: timedelta, end: timedelta | None) -> None:
    connection_id = await world.connect()
    now = datetime.now(UTC)

    with pytest.raises(BadInput):
        await request_sync(
            world.db,
            world.caller,
            connection_id=connection_id,
            person_id=None,
            start=now + start,
            end=now + end if end is not None else None,
        )


async def test_a_reconnect_keeps_the_row_and_its_readings(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = stored(world)

    again = await world.connect()
    await world.sync(again)

    assert again == connection_id
    assert stored(world) == before


async def test_readings_of_a_deleted_connection_stay_and_are_linked_again(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = stored(world)

    done = await disconnect(world.db, world.vendors, world.caller, connection_id)
    again = await world.connect()
    await world.sync(again)

    assert done.readings_kept == len(before)
    assert stored(world) == before
    linked = world.sql("select count(*) from public.glucose_readings where cgm_connection_id = %s", again)
    assert linked == [(len(before),)]


async def test_a_sync_whose_connection_goes_meanwhile_ends_cancelled(world: World) -> None:
    connection_id = await world.connect()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(path: str) -> None:
        if path == "egvs":
            reached.set()
            await go_on.wait()

    world.weather.pause = pause
    syncing = asyncio.create_task(world.sync(connection_id))
    await reached.wait()

    await disconnect(world.db, world.vendors, world.caller, connection_id)
    go_on.set()
    result = await syncing

    assert result is not None
    assert result.outcome == "cancelled"
    assert stored(world) == []


async def test_an_account_without_readings_is_no_error(world: World) -> None:
    connection_id = await world.connect("SandboxUser1")

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "nothing_new"
    assert world.status(connection_id) == ("connected", None)


async def test_quiet_scheduled_runs_leave_one_row(world: World) -> None:
    from evercgm.actions.sync import sync_connection

    connection_id = await world.connect()
    await world.sync(connection_id)

    for job_id in range(1, 5):
        world.sql("update cgm_private.sync_state set next_sync_at = now()")
        await sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=job_id)

    rows = world.sql("select trigger, outcome from cgm_private.sync_runs order by requested_at")
    assert rows == [("connect", "succeeded"), ("schedule", "nothing_new")]


async def test_an_outage_on_the_ladder_keeps_the_rung(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    answers = [refusal("invalid_grant"), refusal("invalid_grant"), (503, b""), refusal("invalid_grant")]
    waits: list[float] = []

    for answer in answers:
        world.weather.answers["token"] = answer
        await world.sync(connection_id)
        assert world.status(connection_id) == ("error", "sign_in_refused")
        waits.append(round((next_in(world, connection_id) or timedelta(0)) / hours(1)))
        world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = %s", connection_id)

    assert waits == [2, 4, 0, 8]


async def test_adopted_tokens_that_never_worked_here_expire_nobody(world: World) -> None:
    connection_id = await world.connect()
    world.sql("update cgm_private.sync_state set adopted_at = now() where connection_id = %s", connection_id)
    world.expire_access_token(connection_id)
    world.weather.answers["token"] = refusal("invalid_grant")

    for _ in range(7):
        await world.sync(connection_id)
        world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = %s", connection_id)
        assert world.status(connection_id)[0] == "error"

    world.weather.answers.clear()
    await world.sync(connection_id)
    assert world.status(connection_id) == ("connected", None)
    assert world.sql("select adopted_at from cgm_private.sync_state") == [(None,)]


@pytest.mark.parametrize("status", ["disconnected", "expired"])
async def test_a_broken_seal_wakes_no_connection_at_rest(world: World, status: str) -> None:
    connection_id = await world.connect()
    world.sql(
        """update public.cgm_connections
           set access_token = 'v1.00000000.AAAA', status = %s::"CGMConnectionStatus" where id = %s""",
        status,
        connection_id,
    )

    await world.sync(connection_id)

    assert world.status(connection_id)[0] == status


async def test_the_previous_token_is_forgotten_once_the_new_access_token_has_worked(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers["egvs"] = (403, b"")

    await world.sync(connection_id)

    assert world.sql("select previous_refresh_token from cgm_private.sync_state") == [("",)]


async def test_an_answer_for_another_account_is_not_stored(world: World) -> None:
    connection_id = await world.connect()
    world.sql("update cgm_private.sync_state set vendor_account_id = 'another'")

    await world.sync(connection_id)

    assert world.status(connection_id) == ("error", "vendor_changed")
    assert stored(world) == []
