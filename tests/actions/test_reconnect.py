"""Reconnecting: a failed attempt changes nothing, another account waits for a yes, and history begins anew for it."""

import asyncio
import uuid
from typing import Any

import pytest
from sync_world import Answer, World, refusal

from evercgm.actions.confirm import confirm
from evercgm.actions.connect import Finished
from evercgm.actions.sync import sync_connection
from evercgm.core.caller import Caller
from evercgm.core.errors import NotYours, SealBroken

PAIR = "select access_token, refresh_token from public.cgm_connections where person_id = %s"
WAITING = "select sealed_access, sealed_refresh from cgm_private.oauth_attempts where sealed_access <> ''"


def account_of(world: World) -> tuple[Any, ...]:
    query = "select vendor_account_id, history_done_at is not null from cgm_private.sync_state where person_id = %s"
    return world.sql(query, world.person_id)[0]


def streams(world: World) -> dict[str, int]:
    """Readings by stream."""
    query = "select stream, count(*) from cgm_private.reading_details where person_id = %s group by stream"
    return {row[0]: row[1] for row in world.sql(query, world.person_id)}


async def waiting(world: World, username: str = "User6") -> str:
    """A connection of User7, and a consent with another account; the attempt to confirm."""
    connection_id = await world.connect("User7")
    await world.sync(connection_id)
    finished = await world.consent(username)
    assert (finished.outcome, finished.code) == ("confirm", None)
    assert finished.attempt is not None
    return finished.attempt


@pytest.mark.parametrize(
    ("decision", "answer", "outcome", "code"),
    [
        ("approve", refusal("invalid_grant"), "error", "code_refused"),
        ("approve", (503, b""), "error", "vendor_unavailable"),
        ("approve", refusal("invalid_client"), "error", "operator_must_act"),
        ("approve", (200, b"<html>"), "error", "vendor_unavailable"),
        ("deny", None, "denied", "denied"),
    ],
)
async def test_a_failed_attempt_to_reconnect_leaves_the_old_tokens_working(
    world: World, decision: str, answer: Answer | None, outcome: str, code: str
) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = world.sql(PAIR, world.person_id)
    if answer is not None:
        world.weather.answers["token"] = answer

    finished = await world.consent(decision=decision)

    assert (finished.outcome, finished.code) == (outcome, code)
    assert world.sql(PAIR, world.person_id) == before
    world.weather.answers.clear()
    world.expire_access_token(connection_id)
    result = await world.sync(connection_id)
    assert result is not None
    assert result.reason is None
    assert world.status(connection_id) == ("connected", None)


async def test_a_first_connection_is_stored_though_the_account_cannot_be_read(world: World) -> None:
    world.weather.answers["dataRange"] = (503, b"")

    finished = await world.consent()

    assert finished.outcome == "connected"
    assert account_of(world)[0] is None


async def test_another_account_changes_nothing_until_the_person_says_yes(world: World) -> None:
    connection_id = await world.connect("User7")
    await world.sync(connection_id)
    before = (world.sql(PAIR, world.person_id), account_of(world), streams(world))

    await world.consent("User6")

    await world.sync(connection_id)
    assert (world.sql(PAIR, world.person_id), account_of(world), streams(world)) == before
    assert world.status(connection_id) == ("connected", None)
    (sealed,) = world.sql(WAITING)
    assert all(text.startswith("v1.") for text in sealed)


async def test_after_the_yes_the_other_account_is_read_from_its_beginning_and_the_old_readings_stay(
    world: World,
) -> None:
    attempt = await waiting(world)
    old_account, old = account_of(world)[0], streams(world)

    connection_id = await confirm(world.db, world.vendors, world.caller, attempt)

    new_account, history_done = account_of(world)
    assert new_account != old_account
    assert not history_done
    assert world.sql("select sync_cursor from public.cgm_connections where id = %s", connection_id) == [(None,)]
    result = await world.sync(connection_id)
    assert result is not None
    assert result.outcome == "succeeded"
    now = streams(world)
    assert now[f"dexcom/dexcom/{old_account}"] == old[f"dexcom/dexcom/{old_account}"]
    assert now[f"dexcom/dexcom/{new_account}"] == len(await world.truth("User6"))
    world.expire_access_token(connection_id)
    await world.sync(connection_id)
    assert (world.status(connection_id), world.reuses()) == (("connected", None), 0)


async def test_a_yes_works_once(world: World) -> None:
    attempt = await waiting(world)
    await confirm(world.db, world.vendors, world.caller, attempt)

    with pytest.raises(NotYours):
        await confirm(world.db, world.vendors, world.caller, attempt)

    assert world.sql("select count(*) from cgm_private.oauth_attempts") == [(0,)]


async def test_two_clicks_at_once_are_one_yes(world: World) -> None:
    attempt = await waiting(world)

    done = await asyncio.gather(
        *(confirm(world.db, world.vendors, world.caller, attempt) for _ in range(4)), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in done) == ["NotYours", "NotYours", "NotYours", "str"]


async def test_a_yes_and_a_newer_sign_in_at_once_do_not_block_each_other(world: World) -> None:
    for _ in range(5):
        attempt = await waiting(world, "SandboxUser1")

        done = await asyncio.gather(
            confirm(world.db, world.vendors, world.caller, attempt), world.consent("User6"), return_exceptions=True
        )

        assert isinstance(done[0], str | NotYours)
        assert isinstance(done[1], Finished)
        assert done[1].outcome == "confirm"
        world.sql("delete from public.cgm_connections")


@pytest.mark.parametrize("spoilt", ["old", "foreign", "unknown", "moved", "person_gone_elsewhere"])
async def test_a_yes_that_does_not_count_changes_nothing(world: World, spoilt: str) -> None:
    attempt, caller = await waiting(world), world.caller
    before = (world.sql(PAIR, world.person_id), account_of(world))
    if spoilt == "old":
        world.sql("update cgm_private.oauth_attempts set expires_at = now()")
    elif spoilt == "foreign":
        stranger = str(uuid.uuid4())
        caller = Caller(stranger, {**world.caller.claims, "sub": stranger})
    elif spoilt == "unknown":
        attempt = str(uuid.uuid4())
    elif spoilt == "moved":
        other = str(uuid.uuid4())
        world.sql("update cgm_private.oauth_attempts set id = %s where id = %s", other, attempt)
        attempt = other
    else:
        world.sql('update public."Person" set "ownerId" = %s where id = %s', str(uuid.uuid4()), world.person_id)

    with pytest.raises(SealBroken if spoilt == "moved" else NotYours):
        await confirm(world.db, world.vendors, caller, attempt)

    assert (world.sql(PAIR, world.person_id), account_of(world)) == before


async def test_only_the_newest_sign_in_waits(world: World) -> None:
    first = await waiting(world)

    second = await world.consent("SandboxUser1")

    assert second.attempt is not None
    with pytest.raises(NotYours):
        await confirm(world.db, world.vendors, world.caller, first)
    await confirm(world.db, world.vendors, world.caller, second.attempt)


async def test_a_reconnection_whose_account_cannot_be_read_waits_and_may_be_the_same_account(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    before = (account_of(world)[0], streams(world))
    world.weather.answers["dataRange"] = (503, b"")

    finished = await world.consent()
    world.weather.answers.clear()

    assert finished.outcome == "confirm"
    assert finished.attempt is not None
    await confirm(world.db, world.vendors, world.caller, finished.attempt)
    await world.sync(connection_id)
    assert (account_of(world)[0], streams(world)) == before


async def test_a_sync_of_the_old_account_that_is_under_way_does_not_move_the_new_ones_cursor(world: World) -> None:
    attempt = await waiting(world)
    connection_id = world.sql("select id from public.cgm_connections")[0][0]
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(path: str) -> None:
        if path == "egvs":
            reached.set()
            await go_on.wait()

    world.weather.pause = pause
    world.sql("update cgm_private.sync_state set next_sync_at = now()")
    syncing = asyncio.create_task(sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=1))
    await reached.wait()

    await confirm(world.db, world.vendors, world.caller, attempt)
    go_on.set()
    result = await syncing

    assert result is not None
    assert result.outcome == "cancelled"
    assert world.sql("select sync_cursor from public.cgm_connections") == [(None,)]
    world.weather.pause = None
    await world.sync(connection_id)
    assert streams(world)[f"dexcom/dexcom/{account_of(world)[0]}"] == len(await world.truth("User6"))
