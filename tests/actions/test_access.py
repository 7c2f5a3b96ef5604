"""Refreshing tokens: one process at a time, committed before use, whatever happens meanwhile."""

import asyncio
from contextlib import suppress

import pytest
from sync_world import World, refusal

from evercgm.actions.access import Access
from evercgm.core.errors import GrantRefused, VendorTryLater
from evercgm.core.tokens import Secret
from evercgm.storage import connections


async def access_of(world: World, connection_id: str) -> Access:
    loaded = await connections.load_for_sync(world.db, connection_id)
    assert loaded is not None
    return Access(world.db, world.vendors, "dexcom", loaded)


async def token_used(world: World, connection_id: str) -> Secret:
    async def keep(token: Secret) -> Secret:
        return token

    return await (await access_of(world, connection_id)).call(keep)


async def test_a_hundred_callers_at_once_refresh_once(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)

    used = await asyncio.gather(*(token_used(world, connection_id) for _ in range(100)))

    assert len(set(used)) == 1
    assert world.token_calls("refresh_token") == 1
    assert world.reuses() == 0


async def test_a_new_pair_is_stored_before_it_is_used(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)

    used = await token_used(world, connection_id)

    stored = await connections.load_for_sync(world.db, connection_id)
    assert stored is not None
    assert stored.tokens.access == used
    assert stored.generation == 1


async def test_a_sync_that_is_stopped_during_the_refresh_still_stores_the_new_pair(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(path: str) -> None:
        if path == "token":
            reached.set()
            await go_on.wait()

    world.weather.pause = pause
    syncing = asyncio.create_task(token_used(world, connection_id))
    await reached.wait()

    syncing.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with suppress(asyncio.CancelledError):
        await syncing

    assert syncing.cancelled()
    world.weather.pause = None
    world.expire_access_token(connection_id)
    await token_used(world, connection_id)
    assert world.reuses() == 0
    assert world.token_calls("refresh_token") == 2


async def test_a_401_refreshes_once_and_repeats_once(world: World) -> None:
    connection_id = await world.connect()
    world.weather.answers["egvs"] = (401, b"")

    result = await world.sync(connection_id)

    assert result is not None
    assert (result.outcome, result.reason) == ("failed", "vendor_denied")
    assert world.weather.calls.count("egvs") == 2
    assert world.token_calls("refresh_token") == 1
    assert world.status(connection_id) == ("error", "vendor_denied")


async def test_a_failed_refresh_leaves_the_lease_free_and_the_tokens_as_they_were(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers["token"] = (503, b"")

    with pytest.raises(VendorTryLater):
        await token_used(world, connection_id)

    world.weather.answers.clear()
    await token_used(world, connection_id)
    assert world.token_calls("refresh_token") == 1


async def test_a_refused_refresh_counts_only_while_the_tokens_are_those_that_were_used(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    world.weather.answers["token"] = refusal("invalid_grant")
    with pytest.raises(GrantRefused):
        await token_used(world, connection_id)
    stale = await access_of(world, connection_id)
    world.weather.answers.clear()
    fresh = await token_used(world, connection_id)

    async def keep(token: Secret) -> Secret:
        return token

    assert await stale.call(keep) == fresh
    assert world.reuses() == 0
