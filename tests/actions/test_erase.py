"""Erasing a person: nothing of ours is left, nothing of anybody else is touched, and only that it happened is kept."""

import asyncio
import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from adoption_world import HOST_KEY, HostApp
from psycopg import sql as names
from sync_world import World, walk_consent

from evercgm.actions import adopt, erase
from evercgm.actions.erase import Report
from evercgm.actions.request_sync import request_sync
from evercgm.core.caller import Caller
from evercgm.core.erasure import Erasure, HostRows, Rows
from evercgm.core.errors import BadInput, NotYours
from evercgm.core.reading import Batch, Reading
from evercgm.storage import connections, jobs, readings
from evercgm.storage.readings import Owner
from evercgm.worker.schedule import enqueue_due

KEPT_IN = {"cgm_private.audit_events", "cgm_private.erased_persons"}
HOST_READINGS = {"fingerstick": 2, "lab": 1, "interpolated": 1, "cgm": 2}


@dataclass
class Someone:
    """A person of an owner."""

    caller: Caller
    person_id: str
    connection_id: str = ""


def tables(world: World) -> list[tuple[str, str, bool]]:
    """Every table of the database but the catalog's: schema, name, whether it has person_id."""
    return [
        (row[0], row[1], row[2])
        for row in world.sql(
            """select n.nspname, c.relname, exists (
                 select from pg_attribute a where a.attrelid = c.oid and a.attname = 'person_id' and not a.attisdropped)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
               order by 1, 2"""
        )
    ]


def rows_of(world: World, person_id: str) -> dict[str, list[Any]]:
    """All rows with this person_id, by table."""
    found: dict[str, list[Any]] = {}
    for schema, table, personal in tables(world):
        if personal:
            query = names.SQL("select to_jsonb(t) from {} t where person_id = %s order by t::text").format(
                names.Identifier(schema, table)
            )
            found[f"{schema}.{table}"] = world.sql(query, person_id)  # type: ignore[arg-type]
    return found


def mentions(world: World, *needles: str) -> dict[str, int]:
    """In which tables any of these texts stands, in a text or in bytes; the two that keep the record left out."""
    patterns = [f"%{text}%" for needle in needles for text in (needle, needle.encode().hex())]
    found = {}
    for schema, table, _ in tables(world):
        query = names.SQL("select count(*) from {} t where t::text like any(%s)").format(
            names.Identifier(schema, table)
        )
        found[f"{schema}.{table}"] = world.sql(query, patterns)[0][0]  # type: ignore[arg-type]
    return {name: number for name, number in found.items() if number and name not in KEPT_IN}


def add_person(world: World, owner_id: str) -> Someone:
    person_id = str(uuid.uuid4())
    world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, owner_id)
    world.sql("insert into cgm_private.person_settings (person_id, label) values (%s, 'marked label')", person_id)
    return Someone(Caller(owner_id, {**world.caller.claims, "sub": owner_id}), person_id)


async def connected(world: World, someone: Someone, username: str = "User6") -> Someone:
    """With a synced connection, and a trace of it in every table that can hold one."""
    await walk_consent(world.db, world.vendors, someone.caller, someone.person_id, username)
    found = world.sql("select connection_id from cgm_private.sync_state where person_id = %s", someone.person_id)
    someone.connection_id = found[0][0]
    await world.sync(someone.connection_id)
    ids = (someone.connection_id, someone.person_id)
    world.sql(
        "insert into cgm_private.routes (id, connection_id, person_id, route, region, session_expires_at)"
        " values (%s, %s, %s, 'x', 'us', now())",
        str(uuid.uuid4()),
        *ids,
    )
    world.sql(
        """insert into cgm_private.rejected_records (connection_id, person_id, stream, record_key, reason)
           values (%s, %s, 's', 'k', 'r')""",
        *ids,
    )
    world.sql(
        """insert into cgm_private.quarantined_connections (id, person_id, connection, reason)
           values (%s, %s, '{"provider": "?", "access_token": "marked"}', 'unknown_provider')""",
        str(uuid.uuid4()),
        someone.person_id,
    )
    world.sql(
        """insert into cgm_private.oauth_attempts (id, person_id, owner_id, provider, region, expires_at)
           values (%s, %s, %s, 'dexcom', 'us', now() + interval '10 minutes')""",
        str(uuid.uuid4()),
        someone.person_id,
        someone.caller.owner_id,
    )
    world.sql("update cgm_private.sync_state set next_sync_at = now() where connection_id = %s", someone.connection_id)
    await enqueue_due(world.db)
    return someone


def host_readings(world: World, person_id: str, connection_id: str | None = None) -> None:
    """Rows that the host app wrote; its finger-prick names a connection, too."""
    for source, number in HOST_READINGS.items():
        for place in range(number):
            world.sql(
                """insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
                   values (%s, %s, now() - interval '400 days', 77, %s::"GlucoseSource", %s)""",
                f"host-{person_id}-{source}-{place}",
                person_id,
                source,
                connection_id if source == "fingerstick" else None,
            )


def host_connection(world: World, person_id: str) -> str:
    """One that the host app made and that was never taken over, with a reading."""
    connection_id = str(uuid.uuid4())
    world.sql(
        """insert into public.cgm_connections
             (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
           values (%s, %s, 'libre', 'theirs', 'theirs', now(), now())""",
        connection_id,
        person_id,
    )
    world.sql(
        """insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
           values (%s, %s, now() - interval '300 days', 99, 'cgm', %s)""",
        f"host-{connection_id}",
        person_id,
        connection_id,
    )
    return connection_id


@pytest.fixture
def alex(world: World) -> Someone:
    return Someone(world.caller, world.person_id)


async def test_nothing_of_the_person_is_left_but_the_hosts_own_rows_and_the_record(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    host_readings(world, alex.person_id, alex.connection_id)
    theirs = host_connection(world, alex.person_id)
    truth = len(await world.truth("User7"))

    await erase.erase_own(world.db, alex.caller, alex.person_id)

    left = {name: rows for name, rows in rows_of(world, alex.person_id).items() if rows}
    assert set(left) == {"public.cgm_connections", "public.glucose_readings", *KEPT_IN}
    assert [row[0]["id"] for row in left["public.cgm_connections"]] == [theirs]
    assert all(row[0]["id"].startswith("host-") for row in left["public.glucose_readings"])
    assert len(left["public.glucose_readings"]) == sum(HOST_READINGS.values()) + 1
    assert truth > 1000
    assert mentions(world, alex.connection_id) == {}
    assert mentions(world, alex.person_id) == {
        "public.Person": 1,
        "public.cgm_connections": 1,
        "public.glucose_readings": sum(HOST_READINGS.values()) + 1,
    }


async def test_no_other_person_loses_a_row_neither_of_this_owner_nor_of_another(world: World, alex: Someone) -> None:
    sibling = await connected(world, add_person(world, alex.caller.owner_id))
    stranger = await connected(world, add_person(world, str(uuid.uuid4())))
    host_readings(world, sibling.person_id)
    await connected(world, alex, "User7")
    before = [rows_of(world, one.person_id) for one in (sibling, stranger)]
    waiting = world.sql("select dedupe_key from cgm_jobs.pgqueuer order by 1")

    await erase.erase_own(world.db, alex.caller, alex.person_id, all_readings=True)

    assert before == [rows_of(world, one.person_id) for one in (sibling, stranger)]
    assert all(len(rows["public.glucose_readings"]) > 1000 for rows in before)
    after = world.sql("select dedupe_key from cgm_jobs.pgqueuer order by 1")
    assert sorted(set(waiting) - set(after)) == [(f"sync:{alex.connection_id}",)]


async def test_what_was_counted_before_is_what_goes_and_stays(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    host_readings(world, alex.person_id, alex.connection_id)
    host_connection(world, alex.person_id)
    world.sql("insert into cgm_private.person_settings (person_id, label) values (%s, 'Alex')", alex.person_id)
    number = len(await world.truth("User7"))

    own = await erase.look_at_own(world.db, alex.caller, alex.person_id)
    counted = await erase.look(world.db, alex.person_id)
    everything = await erase.look(world.db, alex.person_id, all_readings=True)
    erased = await erase.erase(world.db, alex.person_id)

    assert own == counted == erased
    kept = {**HOST_READINGS, "cgm": HOST_READINGS["cgm"] + 1}
    # The sync's job and its run, and one of everything else.
    rows = Rows(
        readings={"cgm": number}, connections=1, syncs=1, routes=1, unreadable_records=1, set_aside=1, sign_ins=1,
        jobs=1, settings=1,
    )  # fmt: skip
    assert erased == Report(rows, HostRows(kept, 1))
    assert everything.kept == HostRows({}, 1)
    assert everything.erased.readings == {**kept, "cgm": number + kept["cgm"]}


async def test_all_readings_takes_the_hosts_too_and_leaves_its_connection(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    host_readings(world, alex.person_id)
    world.sql("update glucose_readings set created_at = 'infinity' where id like 'host-%%lab%%'")
    theirs = host_connection(world, alex.person_id)

    report = await erase.erase(world.db, alex.person_id, all_readings=True)

    assert report.kept == HostRows({}, 1)
    assert world.sql("select count(*) from glucose_readings where person_id = %s", alex.person_id) == [(0,)]
    assert world.sql("select id from cgm_connections where person_id = %s", alex.person_id) == [(theirs,)]


async def test_what_a_connection_brought_goes_even_if_it_was_disconnected_before(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    world.sql("delete from cgm_connections where id = %s", alex.connection_id)

    report = await erase.erase(world.db, alex.person_id)

    assert report.erased.readings == {"cgm": len(await world.truth("User7"))}
    assert (report.erased.connections, report.kept.readings) == (0, {})


async def test_readings_of_the_host_app_go_once_they_are_adopted(world: World, alex: Someone) -> None:
    host = HostApp(world)
    truth = await host.truth("User7")
    theirs = host_connection(world, alex.person_id)
    world.sql("update cgm_connections set provider = 'dexcom' where id = %s", theirs)
    await host.connects(theirs, "User7")
    made = host.reads(theirs, alex.person_id, truth[100:200], timedelta(seconds=20))
    before = await erase.look(world.db, alex.person_id)
    terms = adopt.check_terms(world.vendors, "dexcom", "us", HOST_KEY)
    await adopt.adopt(world.db, world.vendors, terms)
    # Not yet synced: linked to a connection of ours, and known by nothing else.
    linked = await erase.look(world.db, alex.person_id)
    await world.sync(theirs)

    report = await erase.erase(world.db, alex.person_id)

    assert before == Report(Rows(), HostRows({"cgm": len(made) + 1}, 1))
    assert linked.erased.readings == {"cgm": len(made) + 1}
    assert report.erased.readings == {"cgm": len(truth) + 1}
    assert report.kept == HostRows({}, 0)


async def test_the_record_keeps_who_and_how_much_and_nothing_else(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    caller = replace(alex.caller, request_id="request-1")

    report = await erase.erase_own(world.db, caller, alex.person_id)

    events = world.sql(
        """select actor, request_id, person_id, detail from cgm_private.audit_events where action = 'erased'"""
    )
    number = report.erased.readings["cgm"]
    assert events == [
        (
            f"owner:{alex.caller.owner_id}",
            "request-1",
            alex.person_id,
            {"connections": 1, "readings": number, "readings_kept": 0},
        )
    ]
    assert [one.person_id for one in await erase.erased_persons(world.db)] == [alex.person_id]


async def test_a_second_erasure_finds_nothing_and_is_the_one_that_counts(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    await erase.erase(world.db, alex.person_id, all_readings=True)
    (first,) = await erase.erased_persons(world.db)

    report = await erase.erase(world.db, alex.person_id)

    (second,) = await erase.erased_persons(world.db)
    assert report == Report(Rows(), HostRows())
    assert second.erased_at > first.erased_at
    assert (first.all_readings_at, second.all_readings_at) == (first.erased_at, first.erased_at)


@pytest.mark.parametrize("all_readings", [False, True])
async def test_a_foreign_and_an_unknown_person_are_refused_alike(
    world: World, alex: Someone, all_readings: bool
) -> None:
    stranger = await connected(world, add_person(world, str(uuid.uuid4())))
    before = rows_of(world, stranger.person_id)

    for person_id in (stranger.person_id, "nobody"):
        with pytest.raises(NotYours):
            await erase.erase_own(world.db, alex.caller, person_id, all_readings=all_readings)
        with pytest.raises(NotYours):
            await erase.look_at_own(world.db, alex.caller, person_id)
    with pytest.raises(BadInput, match="--person"):
        await erase.erase(world.db, "nobody")

    assert before == rows_of(world, stranger.person_id)
    assert await erase.erased_persons(world.db) == []


@pytest.mark.parametrize("call", ["dataRange", "egvs"])
async def test_a_sync_under_way_ends_cancelled_and_writes_nothing_more(world: World, alex: Someone, call: str) -> None:
    connection_id = await world.connect("User7")
    await world.sync(connection_id)
    erased: list[Report] = []

    async def erase_meanwhile(path: str) -> None:
        if path == call and not erased:
            erased.append(await erase.erase_own(world.db, alex.caller, alex.person_id))

    world.weather.pause = erase_meanwhile

    result = await world.sync(connection_id, window=(datetime.now(UTC) - timedelta(days=90), None))

    assert result is not None
    assert result.outcome == "cancelled"
    assert len(erased) == 1
    assert erased[0].erased.readings == {"cgm": len(await world.truth("User7"))}
    assert mentions(world, connection_id) == {}
    assert set(mentions(world, alex.person_id)) == {"public.Person"}


async def test_tokens_that_the_vendor_gives_meanwhile_are_stored_nowhere(world: World, alex: Someone) -> None:
    connection_id = await world.connect("User7")
    world.expire_access_token(connection_id)

    async def erase_meanwhile(path: str) -> None:
        if path == "token":
            await erase.erase_own(world.db, alex.caller, alex.person_id)

    world.weather.pause = erase_meanwhile

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "cancelled"
    assert mentions(world, connection_id) == {}


@pytest.mark.parametrize("turn", range(6))
async def test_erasing_and_syncing_at_the_same_time_leaves_nothing(world: World, alex: Someone, turn: int) -> None:
    connection_id = await world.connect("User7")

    async def later() -> Report:
        await asyncio.sleep(turn * 0.05)
        return await erase.erase_own(world.db, alex.caller, alex.person_id)

    result, report = await asyncio.gather(world.sync(connection_id), later())

    assert report.erased.connections == 1
    assert result is None or result.outcome in ("cancelled", "succeeded")
    assert mentions(world, connection_id) == {}
    assert set(mentions(world, alex.person_id)) == {"public.Person"}


async def test_a_window_that_is_being_stored_is_waited_for_and_goes_too(world: World, alex: Someone) -> None:
    connection_id = await world.connect("User7")
    owner = Owner(alex.person_id, connection_id, "dexcom/dexcom/account")
    reading = Reading("record-1", datetime(2026, 11, 1, tzinfo=UTC), 120)
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

    async with world.db.as_worker() as conn:
        # As a sync does it: the connection first, then the person, then the readings.
        assert await connections.lock(conn, connection_id)
        erasing = asyncio.create_task(erase.erase_own(world.db, alex.caller, alex.person_id))
        while world.sql(waiting) == [(0,)]:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        saved = await readings.save(conn, owner, Batch((reading,), (), None))
    report = await erasing

    assert saved.inserted == 1
    assert report.erased.readings == {"cgm": 1}
    assert set(mentions(world, alex.person_id)) == {"public.Person"}


async def test_a_job_that_was_under_way_or_asked_for_names_nobody_afterwards(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    await request_sync(world.db, alex.caller, connection_id=None, person_id=alex.person_id, start=None, end=None)
    world.sql("update cgm_jobs.pgqueuer set status = 'picked'")
    async with world.db.as_worker() as conn:
        await jobs.enqueue_syncs(conn, [str(uuid.uuid4())])

    await erase.erase_own(world.db, alex.caller, alex.person_id)

    assert world.sql("select count(*) from cgm_jobs.pgqueuer") == [(1,)]
    assert mentions(world, alex.connection_id) == {}


# --- after a restore ------------------------------------------------------------------------------


def as_if_older(world: World, *, by: str) -> None:
    """Everything that is there was made earlier by this interval: what a restore brings back."""
    for table, column in (
        ("cgm_private.sync_runs", "requested_at"),
        ("cgm_private.routes", "created_at"),
        ("cgm_private.rejected_records", "received_at"),
        ("cgm_private.quarantined_connections", "created_at"),
        ("cgm_private.oauth_attempts", "created_at"),
        ("cgm_private.reading_details", "received_at"),
        ("cgm_private.sync_state", "created_at"),
        ("cgm_private.sync_state", "connected_at"),
        ("public.cgm_connections", "created_at"),
        ("public.glucose_readings", "created_at"),
    ):
        world.sql(f"update {table} set {column} = {column} - interval '{by}'")


def erasure_of(someone: Someone, *, days_ago: float = 1, all_readings: bool = False) -> Erasure:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return Erasure(someone.person_id, at, at if all_readings else None)


async def test_a_replay_deletes_what_a_restore_brought_back(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    host_readings(world, alex.person_id)
    as_if_older(world, by="2 days")
    erasure = erasure_of(alex)

    counted = await erase.look_again(world.db, [erasure])
    reports = await erase.replay(world.db, [erasure])
    again = await erase.replay(world.db, [erasure])

    assert counted == reports
    assert reports[0].erased.connections == 1
    assert reports[0].kept == HostRows(HOST_READINGS, 0)
    assert again == [Report(Rows(), HostRows(HOST_READINGS, 0))]
    assert mentions(world, alex.connection_id) == {}
    assert await erase.erased_persons(world.db) == [erasure]
    details = world.sql("select actor, detail ->> 'replayed' from cgm_private.audit_events where action = 'erased'")
    assert details == [("operator", "true")]


async def test_a_replay_spares_what_is_younger_than_the_erasure(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    world.sql(
        "insert into cgm_private.person_settings (person_id, label) values (%s, 'new')"
        " on conflict (person_id) do update set label = 'new'",
        alex.person_id,
    )
    before = rows_of(world, alex.person_id)

    (report,) = await erase.replay(world.db, [erasure_of(alex)])

    assert report.erased == Rows()
    after = rows_of(world, alex.person_id)
    assert {name: rows for name, rows in before.items() if name not in KEPT_IN} == {
        name: rows for name, rows in after.items() if name not in KEPT_IN
    }


async def test_a_new_consent_after_the_erasure_keeps_its_connection_and_loses_the_old_readings(
    world: World, alex: Someone
) -> None:
    await connected(world, alex, "User7")
    as_if_older(world, by="2 days")
    world.sql("update cgm_private.sync_state set connected_at = now()")
    young = world.sql(
        """update cgm_private.reading_details set received_at = now()
           where reading_id in (select id from glucose_readings order by id desc limit 5) returning reading_id"""
    )

    (report,) = await erase.replay(world.db, [erasure_of(alex)])

    assert report.erased.connections == 0
    assert report.erased.readings == {"cgm": len(await world.truth("User7")) - 5}
    left = world.sql("select id from glucose_readings where person_id = %s", alex.person_id)
    assert sorted(left) == sorted(young)
    assert world.sql("select count(*) from cgm_connections where id = %s", alex.connection_id) == [(1,)]


async def test_a_replay_takes_the_hosts_readings_only_where_that_was_asked_for(world: World, alex: Someone) -> None:
    await connected(world, alex, "User7")
    host_readings(world, alex.person_id)
    as_if_older(world, by="2 days")
    world.sql("update glucose_readings set created_at = now() where id like 'host-%%lab%%'")

    (report,) = await erase.replay(world.db, [erasure_of(alex, all_readings=True)])

    assert report.kept == HostRows({"lab": 1}, 0)
    (listed,) = await erase.erased_persons(world.db)
    assert listed.all_readings_at == listed.erased_at


async def test_a_replay_remembers_also_whom_the_restored_database_does_not_know(world: World, alex: Someone) -> None:
    gone = Erasure("never seen here", datetime.now(UTC) - timedelta(days=3))
    later = erasure_of(alex)

    reports = await erase.replay(world.db, [later, gone, replace(later, erased_at=later.erased_at - timedelta(days=1))])

    assert reports == [Report(Rows(), HostRows())] * 3
    assert await erase.erased_persons(world.db) == [gone, later]


async def test_the_list_of_the_erased_is_one_that_a_replay_reads(world: World, alex: Someone) -> None:
    await erase.erase(world.db, alex.person_id, all_readings=True)
    listed = await erase.erased_persons(world.db)

    (report,) = await erase.replay(world.db, listed)

    assert report == Report(Rows(), HostRows())
    assert json.loads(listed[0].as_json())["all_readings_at"] is not None
    assert await erase.erased_persons(world.db) == listed
