"""What happens while a sign-in is at the vendor, or two of them at once: nothing is stored that no longer fits."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sync_world import World

from evercgm.actions import erase
from evercgm.actions.confirm import confirm
from evercgm.actions.connect import Finished
from evercgm.actions.disconnect import disconnect
from evercgm.core.errors import NotYours
from evercgm.storage import connections

CONNECTIONS = "select count(*) from public.cgm_connections"
ATTEMPTS = "select count(*) from cgm_private.oauth_attempts"
REFUSED = ("error", "bad_state")


Moment = Callable[[], Awaitable[None]]


def at(path: str, happen: Moment) -> Callable[[str], Awaitable[None]]:
    """A pause of the weather that lets ``happen`` happen once, when the vendor is asked for ``path``."""
    seen: list[str] = []

    async def pause(asked: str) -> None:
        if asked == path and not seen:
            seen.append(asked)
            await happen()

    return pause


@pytest.mark.parametrize("path", ["token", "dataRange"])
async def test_a_sign_in_that_an_erasure_overtook_is_stored_nowhere(world: World, path: str) -> None:
    async def erase_now() -> None:
        await erase.erase_own(world.db, world.caller, world.person_id)

    world.weather.pause = at(path, erase_now)

    finished = await world.consent()

    assert (finished.outcome, finished.code) == REFUSED
    assert (world.sql(CONNECTIONS), world.sql(ATTEMPTS)) == ([(0,)], [(0,)])


async def test_a_pair_that_would_wait_for_a_yes_is_not_kept_after_an_erasure_either(world: World) -> None:
    await world.connect("User7")

    async def erase_now() -> None:
        await erase.erase_own(world.db, world.caller, world.person_id)
        # As if the host app had put a connection back at once: what waits would have something to wait for.
        world.sql("delete from cgm_private.oauth_attempts")

    world.weather.pause = at("token", erase_now)

    finished = await world.consent("User6")

    assert (finished.outcome, finished.code) == REFUSED
    assert world.sql(ATTEMPTS) == [(0,)]


async def test_a_sign_in_that_begins_after_an_erasure_connects(world: World) -> None:
    await erase.erase_own(world.db, world.caller, world.person_id)

    assert (await world.consent()).outcome == "connected"


@pytest.mark.parametrize("path", ["token", "dataRange"])
async def test_a_person_who_becomes_anothers_meanwhile_does_not_get_the_old_owners_account(
    world: World, path: str
) -> None:
    async def move() -> None:
        world.sql('update public."Person" set "ownerId" = %s where id = %s', str(uuid.uuid4()), world.person_id)

    world.weather.pause = at(path, move)

    finished = await world.consent()

    assert (finished.outcome, finished.code) == REFUSED
    assert world.sql(CONNECTIONS) == [(0,)]


async def test_of_two_first_sign_ins_at_once_one_connects_and_the_other_account_asks(world: World) -> None:
    both = asyncio.Barrier(2)

    async def together(path: str) -> None:
        if path == "dataRange":
            await both.wait()

    world.weather.pause = together

    done = await asyncio.gather(world.consent("User7"), world.consent("User6"))

    assert sorted(one.outcome for one in done) == ["confirm", "connected"]
    assert world.sql(CONNECTIONS) == [(1,)]


async def test_of_two_first_sign_ins_with_one_account_at_once_both_have_connected(world: World) -> None:
    both = asyncio.Barrier(2)

    async def together(path: str) -> None:
        if path == "dataRange":
            await both.wait()

    world.weather.pause = together

    done = await asyncio.gather(world.consent("User7"), world.consent("User7"))

    assert [one.outcome for one in done] == ["connected", "connected"]
    assert world.sql(CONNECTIONS) == [(1,)]


@pytest.mark.parametrize("turn", range(4))
async def test_an_erasure_and_a_yes_at_once_leave_nothing(world: World, turn: int) -> None:
    await world.connect("User7")
    attempt = (await world.consent("User6")).attempt
    assert attempt is not None

    async def later() -> None:
        await asyncio.sleep(turn * 0.01)
        await erase.erase_own(world.db, world.caller, world.person_id)

    done = await asyncio.gather(
        confirm(world.db, world.vendors, world.caller, attempt), later(), return_exceptions=True
    )

    assert isinstance(done[0], str | NotYours)
    assert done[1] is None
    assert (world.sql(CONNECTIONS), world.sql(ATTEMPTS)) == ([(0,)], [(0,)])


async def test_a_consent_that_comes_between_the_two_halves_of_a_disconnect_survives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = await world.connect("User7")
    delete = connections.delete
    meanwhile: list[Finished] = []

    async def delete_late(conn: Any, *which: str) -> int | None:
        meanwhile.append(await world.consent("User7"))
        return await delete(conn, *which)

    # Nothing is replaced: only what another browser does in this moment is put there.
    monkeypatch.setattr(connections, "delete", delete_late)

    done = await disconnect(world.db, world.vendors, world.caller, connection_id)

    assert meanwhile[0].outcome == "connected"
    assert done.readings_kept == 0
    assert world.status(connection_id) == ("connected", None)
    monkeypatch.undo()
    result = await world.sync(connection_id)
    assert result is not None
    assert result.reason is None


async def test_a_database_that_fails_at_the_very_end_is_told_to_the_browser_as_an_outcome(world: World) -> None:
    async def break_the_insert() -> None:
        world.sql(
            "create function public.cancel_now() returns trigger language plpgsql as $$ begin "
            "raise exception using errcode = '57014'; end $$"
        )
        world.sql(
            "create trigger cancel_now before insert on public.cgm_connections execute function public.cancel_now()"
        )

    world.weather.pause = at("dataRange", break_the_insert)

    finished = await world.consent()

    assert (finished.outcome, finished.code, finished.return_to) == ("error", "failed", "http://cgm.test/")
