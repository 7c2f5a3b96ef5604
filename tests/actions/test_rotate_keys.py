"""Rotation: everything moves under the primary key while others read and write, and nothing is lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from rotation_writer import writers
from sealed_world import fill, fill_connection, fill_connections, pair, run
from sync_world import World

from evercgm.actions import rotate_keys
from evercgm.actions.rotate_keys import Inventory, Kind, Rotation, Step
from evercgm.cli.keys_words import is_removable
from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret
from evercgm.storage import connections, identity, sealed
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Place, Vault, key_id

OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)
RESEALED = {
    "cgm_connections.access_token": 1,
    "cgm_connections.refresh_token": 1,
    "sync_state.previous_refresh_token": 1,
    "oauth_attempts.pkce_verifier": 1,
    "oauth_attempts.sealed_access": 1,
    "oauth_attempts.sealed_refresh": 1,
    "routes.secret": 1,
    "routes.session": 1,
    "signing_keys.sealed_private": 1,
    "quarantined_connections.access_token": 1,
    "quarantined_connections.refresh_token": 1,
}
# Everything that rotation must leave alone, row by row.
BESIDE = """
select to_jsonb(c) - '{access_token,refresh_token,updated_at}'::text[] from public.cgm_connections c union all
select to_jsonb(s) - 'previous_refresh_token' from cgm_private.sync_state s union all
select to_jsonb(a) - '{pkce_verifier,sealed_access,sealed_refresh}'::text[] from cgm_private.oauth_attempts a union all
select to_jsonb(r) - '{secret,session}'::text[] from cgm_private.routes r union all
select to_jsonb(k) - 'sealed_private' from cgm_private.signing_keys k union all
select to_jsonb(q) #- '{connection,access_token}' #- '{connection,refresh_token}'
from cgm_private.quarantined_connections q order by 1
"""


@asynccontextmanager
async def opened(database: Any, *ring: bytes) -> AsyncIterator[Database]:
    """As a process with this ring sees the database."""
    async with open_database(database.service_dsn, Vault(ring[0], ring[1:])) as db:
        yield db


async def rotated(database: Any) -> Rotation:
    async with opened(database, NEW, OLD) as db:
        return await rotate_keys.rotate(db)


async def looked(database: Any, *ring: bytes) -> Inventory:
    async with opened(database, *ring) as db:
        return await rotate_keys.look(db)


async def test_every_value_moves_under_the_primary_key_and_nothing_else_changes(database: Any) -> None:
    async with opened(database, OLD) as db:
        connection_id = await fill(db, database.admin_dsn)
        before = await connections.load_for_sync(db, connection_id)
        keys = await identity.load_keys(db, "http://cgm.test/auth/v1")
    beside = run(database.admin_dsn, BESIDE)
    host = run(database.admin_dsn, "select to_jsonb(c) from public.cgm_connections c where id = 'h-1'")

    done = await rotated(database)

    assert done.resealed == RESEALED
    assert done.left.finished
    assert done.left.needed == {key_id(NEW): sum(RESEALED.values()), key_id(OLD): 0}
    assert (await looked(database, NEW)).unopened == 0
    async with opened(database, NEW) as db:
        assert before == await connections.load_for_sync(db, connection_id)
        assert keys.private == (await identity.load_keys(db, "http://cgm.test/auth/v1")).private
    assert beside == run(database.admin_dsn, BESIDE)
    assert host == run(database.admin_dsn, "select to_jsonb(c) from public.cgm_connections c where id = 'h-1'")


async def test_a_second_run_has_nothing_to_do_and_leaves_no_trace(database: Any) -> None:
    async with opened(database, OLD) as db:
        await fill(db, database.admin_dsn)
    await rotated(database)
    events = run(database.admin_dsn, "select * from cgm_private.audit_events")
    texts = run(database.admin_dsn, "select access_token, xmin::text from public.cgm_connections")

    again = await rotated(database)

    assert again.resealed == {}
    assert again.left.finished
    assert texts == run(database.admin_dsn, "select access_token, xmin::text from public.cgm_connections")
    assert events == run(database.admin_dsn, "select * from cgm_private.audit_events")


async def test_the_record_says_who_rotated_to_which_key_and_how_many(database: Any) -> None:
    async with opened(database, OLD) as db:
        await fill(db, database.admin_dsn)

    await rotated(database)

    assert run(database.admin_dsn, "select actor, action, person_id, detail from cgm_private.audit_events") == [
        ("operator", "keys_rotated", None, {"phase": "begun", "key_id": key_id(NEW)}),
        (
            "operator",
            "keys_rotated",
            None,
            {
                "phase": "ended",
                "key_id": key_id(NEW),
                "resealed": sum(RESEALED.values()),
                "under_other_keys": 0,
                "unopened": 0,
            },
        ),
    ]


async def test_what_does_not_open_stays_as_it_is_and_the_rest_of_its_row_moves(database: Any) -> None:
    async with opened(database, OLD) as db:
        connection_id = await fill(db, database.admin_dsn)
    broken = f"v1.{key_id(OLD)}.AAAA"
    run(database.admin_dsn, "update public.cgm_connections set access_token = %s where id = %s", broken, connection_id)

    done = await rotated(database)

    stored = run(
        database.admin_dsn,
        "select access_token, refresh_token from public.cgm_connections where id = %s",
        connection_id,
    )[0]
    assert stored[0] == broken
    assert stored[1].startswith(f"v1.{key_id(NEW)}.")
    assert done.left.unopened == 1
    assert done.left.places["cgm_connections.access_token"][Kind("unreadable", key_id(OLD))] == 1
    assert not done.left.finished


async def test_our_seal_in_a_row_of_the_host_app_keeps_its_key_needed(database: Any) -> None:
    async with opened(database, OLD) as db:
        connection_id = await fill(db, database.admin_dsn)
    run(database.admin_dsn, "delete from cgm_private.sync_state where connection_id = %s", connection_id)
    before = run(database.admin_dsn, "select to_jsonb(c) from public.cgm_connections c order by id")

    done = await rotated(database)

    assert before == run(database.admin_dsn, "select to_jsonb(c) from public.cgm_connections c order by id")
    assert done.left.needed[key_id(OLD)] == 2
    assert done.left.unopened == 0
    assert not done.left.finished


async def test_two_rotations_at_once_do_each_value_once(database: Any) -> None:
    fill_connections(Vault(OLD), database.admin_dsn, 3 * sealed.PAGE + 1)

    one, other = await asyncio.gather(rotated(database), rotated(database))

    assert sum(one.resealed.values()) + sum(other.resealed.values()) == 2 * (3 * sealed.PAGE + 1)
    assert one.left.finished
    assert other.left.finished
    assert deadlocks(database) == 0


async def test_a_row_that_somebody_holds_is_not_waited_for_but_done_later(database: Any) -> None:
    async with opened(database, OLD) as db:
        held, free = sorted([await fill_connection(db, database.admin_dsn) for _ in range(2)])
    query = "select id from public.cgm_connections where access_token like %s"
    moved = f"v1.{key_id(NEW)}.%"
    with psycopg.connect(database.admin_dsn) as holder:
        holder.execute("select from public.cgm_connections where id = %s for update", [held])
        rotation = asyncio.create_task(rotated(database))
        async with asyncio.timeout(30):
            while not run(database.admin_dsn, query, moved):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        first = run(database.admin_dsn, query, moved)
        assert not rotation.done()
        holder.rollback()
        done = await rotation

    assert first == [(free,)]
    assert done.left.finished


async def test_a_row_that_is_held_to_the_end_keeps_the_old_key_needed(database: Any) -> None:
    async with opened(database, OLD) as db:
        held = await fill_connection(db, database.admin_dsn)
    with psycopg.connect(database.admin_dsn) as holder:
        holder.execute("select from public.cgm_connections where id = %s for update", [held])
        done = await rotated(database)

    assert done.resealed == {}
    assert done.left.needed[key_id(OLD)] == 2
    assert not done.left.finished


@pytest.mark.parametrize(
    ("statement", "table", "column"),
    [
        ("update public.cgm_connections set access_token = %s where id = %s", "cgm_connections", "access_token"),
        (
            "update cgm_private.sync_state set previous_refresh_token = %s where connection_id = %s",
            "sync_state",
            "previous_refresh_token",
        ),
        # The quarantined row takes it, whose own place it is not: it opens nowhere, but names the key.
        (
            """update cgm_private.quarantined_connections
               set connection = jsonb_set(connection, '{refresh_token}', to_jsonb(%s::text)) where %s <> ''""",
            "cgm_connections",
            "refresh_token",
        ),
    ],
    ids=["a connection", "its state", "one that was set aside"],
)
async def test_a_value_written_behind_the_look_keeps_its_key_needed(
    database: Any, statement: str, table: str, column: str
) -> None:
    async with opened(database, NEW) as db:
        connection_id = await fill(db, database.admin_dsn)
    late = Vault(OLD).seal(Secret("late"), Place(table, column, connection_id))
    steps = []

    def write_at_the_end(step: Step) -> None:
        steps.append(step)
        if step.done == step.rows:
            run(database.admin_dsn, statement, late, connection_id)

    async with opened(database, NEW, OLD) as db:
        found = await rotate_keys.look(db, write_at_the_end)

    assert steps[-1].done == steps[-1].rows
    assert found.places["cgm_connections.access_token"] == {Kind("ours", key_id(NEW)): 1}
    assert found.needed[key_id(OLD)] == 1
    assert found.unopened == 0
    assert not found.finished
    assert not is_removable(found, key_id(OLD))


async def test_a_value_written_behind_the_look_under_a_key_that_we_lack_lets_no_key_be_removed(database: Any) -> None:
    lost = Vault(secrets.token_bytes(32))
    async with opened(database, NEW) as db:
        connection_id = await fill(db, database.admin_dsn)
    late = lost.seal(Secret("late"), Place("cgm_connections", "access_token", connection_id))

    def write(_step: Step) -> None:
        statement = "update public.cgm_connections set access_token = %s where id = %s"
        run(database.admin_dsn, statement, late, connection_id)

    async with opened(database, NEW, OLD) as db:
        found = await rotate_keys.look(db, write)

    assert (found.needed[key_id(OLD)], found.unopened) == (0, 1)
    assert not is_removable(found, key_id(OLD))


async def test_nothing_is_lost_while_a_mixed_fleet_refreshes_and_reconnects(database: Any) -> None:
    # Few that everybody writes to, among many that make a batch last.
    fill_connections(Vault(OLD), database.admin_dsn, 10)
    persons = dict(run(database.admin_dsn, "select id, person_id from public.cgm_connections"))
    fill_connections(Vault(OLD), database.admin_dsn, sealed.PAGE - len(persons))
    moved = 0
    with writers(database.service_dsn, [(OLD, NEW), (NEW, OLD)], persons) as told:
        for ring in [(NEW, OLD), (OLD, NEW)] * 4:
            async with opened(database, *ring) as db:
                moved += sum((await rotate_keys.rotate(db)).resealed.values())

    last = await rotated(database)

    assert told.sealed_off == 0
    assert moved > 8 * sealed.PAGE
    assert last.left.finished
    assert deadlocks(database) == 0
    stored = {id_: {0: f"access_token-{id_}"} | told.committed[id_] for id_ in persons}
    assert sum(map(len, stored.values())) > 100
    # At every moment each generation had the token that was stored with it, and so it is at the end.
    assert {one for one in told.read if stored[one[0]][one[1]] != one[2]} == set()
    async with opened(database, NEW) as db:
        for connection_id, generations in stored.items():
            loaded = await connections.load_for_sync(db, connection_id)
            assert loaded is not None
            assert loaded.generation == max(generations)
            assert loaded.tokens.access.reveal() == generations[loaded.generation]


def deadlocks(database: Any) -> int:
    query = "select deadlocks from pg_stat_database where datname = current_database()"
    return int(run(database.admin_dsn, query)[0][0])


@asynccontextmanager
async def fleet(world: World, database: Any, *rings: tuple[bytes, ...]) -> AsyncIterator[list[World]]:
    """The same world as processes with these rings see it."""
    async with AsyncExitStack() as stack:
        yield [replace(world, db=await stack.enter_async_context(opened(database, *ring))) for ring in rings]


async def all_work(members: list[World], connection_id: str) -> None:
    """Each in turn refreshes the access that the one before it stored, and syncs with it."""
    for member in members:
        member.expire_access_token(connection_id)
        result = await member.sync(connection_id)
        assert result is not None
        assert result.outcome in ("succeeded", "nothing_new")
        assert member.status(connection_id) == ("connected", None)


async def test_add_everywhere_then_make_primary_fails_at_no_moment(world: World, database: Any) -> None:
    async with fleet(world, database, (OLD,)) as members:
        connection_id = await members[0].connect()
        await all_work(members, connection_id)
    async with fleet(world, database, (OLD,), (OLD, NEW)) as members:
        await all_work(members * 2, connection_id)
    async with fleet(world, database, (OLD, NEW), (NEW, OLD)) as members:
        await all_work(members * 2, connection_id)
        # Too early: half of the fleet still seals with the old key. It does no harm, and the old key stays needed.
        await rotate_keys.rotate(members[1].db)
        await all_work([members[1], members[0]], connection_id)
        assert (await rotate_keys.look(members[1].db)).needed[key_id(OLD)] > 0
    async with fleet(world, database, (NEW, OLD)) as members:
        assert (await rotate_keys.rotate(members[0].db)).left.finished
        await all_work(members, connection_id)
        assert (await rotate_keys.look(members[0].db)).needed[key_id(OLD)] == 0
    async with fleet(world, database, (NEW,)) as members:
        await all_work(members, connection_id)

    assert world.reuses() == 0


async def test_make_primary_first_is_told_expires_nobody_and_mends_itself(world: World, database: Any) -> None:
    async with fleet(world, database, (OLD,), (NEW, OLD)) as (old, new):
        connection_id = await old.connect()
        await all_work([old, new], connection_id)
        stored = run(database.admin_dsn, "select access_token, refresh_token from public.cgm_connections")
        readings = run(database.admin_dsn, "select count(*) from public.glucose_readings")

        met = await old.sync(connection_id)

        assert met is not None
        assert (met.outcome, met.reason) == ("failed", "seal_broken")
        assert old.status(connection_id) == ("error", "seal_broken")
        soon = "select next_sync_at <= now() + interval '61 minutes' from cgm_private.sync_state"
        assert run(database.admin_dsn, soon) == [(True,)]
        assert stored == run(database.admin_dsn, "select access_token, refresh_token from public.cgm_connections")
        assert readings == run(database.admin_dsn, "select count(*) from public.glucose_readings")
        with pytest.raises(SealBroken):
            await connections.load_for_sync(old.db, connection_id)
        # The roll-out goes on, and nobody does anything about the connection.
        await all_work([new], connection_id)

    assert world.reuses() == 0


async def test_with_a_key_lost_for_good_people_connect_anew_and_the_signing_key_is_made_anew(database: Any) -> None:
    async with opened(database, OLD) as db:
        connection_id = await fill(db, database.admin_dsn)
    person_id = run(database.admin_dsn, "select person_id from cgm_private.sync_state")[0][0]
    async with opened(database, NEW) as db:
        with pytest.raises(SealBroken):
            await identity.load_keys(db, "http://cgm.test/auth/v1")
        assert (await rotate_keys.rotate(db)).resealed == {}

        run(database.owner_dsn, "delete from cgm_private.signing_keys")
        await identity.load_keys(db, "http://cgm.test/auth/v1")
        async with db.as_worker() as conn:
            again = await connections.store_connected(
                conn, db.vault, person_id=person_id, provider="dexcom", region="us", account_id=None, tokens=pair("9")
            )

        assert again == connection_id
        loaded = await connections.load_for_sync(db, connection_id)
        assert loaded is not None
        assert loaded.tokens.access.reveal() == "access-9"
        left = {
            name
            for name, kinds in (await rotate_keys.look(db)).places.items()
            if Kind("unreadable", key_id(OLD)) in kinds
        }
    # Sign-ins under way run out by themselves; what a route keeps is entered anew.
    assert {name.partition(".")[0] for name in left} == {"oauth_attempts", "routes", "quarantined_connections"}


async def test_telling_of_a_broken_seal_never_deadlocks_with_a_reconnect(database: Any) -> None:
    async with opened(database, OLD) as db:
        connection_id = await fill_connection(db, database.admin_dsn)
        person_id = run(database.admin_dsn, "select person_id from public.cgm_connections")[0][0]

        async def tell() -> None:
            for _ in range(60):
                async with db.as_worker() as conn:
                    await connections.note_seal_broken(conn, connection_id, timedelta(hours=1))

        async def reconnect() -> None:
            for _ in range(60):
                async with db.as_worker() as conn:
                    await connections.store_connected(
                        conn,
                        db.vault,
                        person_id=person_id,
                        provider="dexcom",
                        region="us",
                        account_id=None,
                        tokens=pair(),
                    )

        await asyncio.gather(tell(), tell(), reconnect(), reconnect())

    assert deadlocks(database) == 0
