"""public.glucose_readings in parts by range of id (docs/partition_readings.sql): everything that hung on it holds.

What it costs, and why no other key than the id will do: docs/decisions/0007-partitions.md.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bench.crowd import Size, fill, id_of, owner_of, stream_of
from debian_postgres import fresh_places
from foreign_tools import ROOT
from hot_path import run_on_a_copy
from plans import nodes
from prisma_host import NOTHING_TO_DO, script
from psycopg import errors
from starts import lay, snapshot_of

from evercgm.core.caller import Caller
from evercgm.core.reading import Batch, Reading
from evercgm.storage import readings, views
from evercgm.storage.database import open_database
from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.verify import Wish, verify
from evercgm.storage.vault import Vault
from evercgm.storage.views import Span

SCRIPT = ROOT / "docs" / "partition_readings.sql"
# A week of five-minute readings, and what the host app stored by hand.
CROWD = Size(300, 20, 2_000)
DAYS = 5
COUNTED = """
select count(*), md5(string_agg(r::text, ';' order by r.id)) from public.glucose_readings r
union all
select count(*), md5(string_agg(d::text, ';' order by d.record_key)) from cgm_private.reading_details d
"""
IN_PARTS = """
select r.tableoid::regclass::text, count(*), min(r.id), max(r.id) from public.glucose_readings r group by 1 order by 3
"""


def partition(dsn: str, *starts: datetime) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            "select set_config('cgm.part_starts', %s, false)", [", ".join(f"{start:%Y-%m-%d}" for start in starts)]
        )
        owner.execute(SCRIPT.read_bytes())


def days_before(now: datetime) -> list[datetime]:
    return [now - timedelta(days=n) for n in reversed(range(-1, DAYS))]


def rows(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("set time zone 'UTC'")
        cursor = admin.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=[True, False], ids=["host-rls-on", "host-rls-off"])
def whole(request: pytest.FixtureRequest, make_database: Any) -> Any:
    """A database of many people, the table of readings in one piece."""
    database = make_database(host_rls=request.param)
    fill(database.admin_dsn, CROWD)
    return database


@pytest.fixture
def parted(whole: Any) -> Any:
    """The same in parts: a part a day for the last days, one for all before, one for all else."""
    partition(whole.owner_dsn, *days_before(datetime.now(UTC)))
    return whole


def test_every_row_is_still_there_and_lies_where_its_id_says(whole: Any) -> None:
    before = rows(whole.admin_dsn, COUNTED)

    partition(whole.owner_dsn, *days_before(datetime.now(UTC)))

    assert rows(whole.admin_dsn, COUNTED) == before
    parts = rows(whole.admin_dsn, IN_PARTS)
    days = [part for part in parts if "_from_" in part[0]]
    assert len(days) == DAYS
    # By the instant that an id begins with; the host app's random ids lie anywhere, most of them with all else.
    assert [(first, last) for _, _, first, last in days] == sorted((first, last) for _, _, first, last in days)
    for name, _, first, last in days:
        measured = {datetime.fromtimestamp(int(id_[:13].replace("-", ""), 16) / 1000, UTC) for id_ in (first, last)}
        assert {f"{at:%Y_%m_%d}" for at in measured} == {name[-10:]}
    assert sum(count for name, count, *_ in parts if name.endswith("_other")) > 1900


async def told(database: Any, *persons: int) -> list[Any]:
    """What the owners of some persons are told of their last three days."""
    answers: list[Any] = []
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=1) as db:
        for n in persons:
            caller = Caller(owner_of(n), {"sub": owner_of(n), "role": "authenticated"})
            span = Span(now - timedelta(days=3), now)
            page = await views.readings(db, caller, id_of("person", n), span, limit=5000, cursor=None)
            answers += [page.readings, (await views.connections(db, caller, None))[0].newest_reading_at]
    return answers


async def test_owners_are_told_the_same_as_before(whole: Any) -> None:
    before = await told(whole, 1, 7, 20)

    partition(whole.owner_dsn, *days_before(datetime.now(UTC)))

    assert await told(whole, 1, 7, 20) == before
    assert len(before[0]) > 800


async def test_a_sync_stores_replays_and_corrects_over_the_border_of_two_parts(parted: Any) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=30, microsecond=0)
    # Person 30 wears none yet.
    day = [Reading(f"r-{n}", midnight + timedelta(minutes=5 * (n - 6)), 100 + n) for n in range(12)]
    corrected = [Reading("r-0", day[0].measured_at, 250), *day[1:]]
    async with open_database(parted.service_dsn, Vault(secrets.token_bytes(32)), largest=1) as db:
        counts = []
        for batch in (day, day, corrected, corrected):
            async with db.as_worker() as conn:
                saved = await readings.save(conn, stream_of(30), Batch(tuple(batch), (), "account"))
            counts.append((saved.inserted, saved.updated))

    assert counts == [(12, 0), (0, 0), (0, 1), (0, 0)]
    query = "select tableoid::regclass::text, count(*) from public.glucose_readings where person_id = %s group by 1"
    found = rows(parted.admin_dsn, query, id_of("person", 30))
    assert [count for name, count in found if "_from_" in name] == [6, 6]


def test_references_both_ways_and_the_guard_hold(parted: Any) -> None:
    new = """insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
             values (%s, %s, now(), 100, 'cgm', %s)"""
    person, connection = id_of("person", 3), id_of("connection", 3)
    known = rows(parted.admin_dsn, "select id from public.glucose_readings where person_id = %s limit 1", person)[0][0]

    for values, refusal in (
        (("x-1", person, id_of("connection", 4)), errors.CheckViolation),
        (("x-2", person, "nowhere"), errors.CheckViolation),
        (("x-3", "nobody", None), errors.ForeignKeyViolation),
        ((known, person, None), errors.UniqueViolation),
    ):
        with pytest.raises(refusal):
            rows(parted.admin_dsn, new, *values)
    with pytest.raises(errors.ForeignKeyViolation):
        rows(
            parted.admin_dsn,
            "insert into cgm_private.reading_details (reading_id, person_id, stream, record_key)"
            " values ('nowhere', %s, 's', 'k')",
            person,
        )
    rows(parted.admin_dsn, "delete from public.cgm_connections where id = %s", connection)
    linked = "select count(*), count(cgm_connection_id) from public.glucose_readings where person_id = %s"
    assert rows(parted.admin_dsn, linked, person) == [(2100, 0)]
    rows(parted.admin_dsn, 'delete from public."Person" where id = %s', person)
    assert rows(parted.admin_dsn, linked, person) == [(0, 0)]
    details = "select count(*) from cgm_private.reading_details where person_id = %s"
    assert rows(parted.admin_dsn, details, person) == [(0,)]


def test_owners_see_their_own_and_nobody_reaches_a_part_by_its_name(parted: Any) -> None:
    in_a_part = "select count(*) from cgm_parts.glucose_readings_first"
    with psycopg.connect(parted.admin_dsn) as conn:
        rls = conn.execute("select relrowsecurity from pg_class where oid = 'public.glucose_readings'::regclass")
        guarded = (rls.fetchone() or (None,))[0]
        claims = json.dumps({"sub": owner_of(5), "role": "authenticated"})
        conn.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', 'cgm_request', true)", [claims]
        )
        seen = conn.execute("select count(distinct person_id) from public.glucose_readings").fetchone()
        conn.rollback()
        assert seen == ((1,) if guarded else (20,))
        for role in ("anon", "authenticated", "cgm_request", "cgm_worker", "service_role"):
            conn.execute("select set_config('role', %s, true)", [role])
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(in_a_part)
            conn.rollback()
    guarded_too = """select bool_and(relrowsecurity) from pg_class
                     where relnamespace = 'cgm_parts'::regnamespace and relkind = 'r'"""
    assert rows(parted.admin_dsn, guarded_too) == [(True,)]


async def test_migrations_checks_and_comparison_find_nothing_but_the_parts(whole: Any) -> None:
    before, checks = await snapshot_of(whole.owner_dsn), await not_ok(whole)

    partition(whole.owner_dsn, *days_before(datetime.now(UTC)))

    assert await migrate(whole.owner_dsn) == []
    assert await not_ok(whole) == checks
    found = differences(before, await snapshot_of(whole.owner_dsn))
    assert [(one.change, str(one.key)) for one in found] == [("different", "table public.glucose_readings")]


async def not_ok(database: Any) -> list[tuple[str, str, str]]:
    async with await psycopg.AsyncConnection.connect(database.owner_dsn, autocommit=True) as conn:
        checks = await verify(conn, Wish(live=True))
    return [(check.id, check.status, check.object) for check in checks if check.status != "ok"]


def test_everything_that_the_service_does_all_day_works_on_it(postgres: Any, parted: Any) -> None:
    run = run_on_a_copy(postgres, parted)

    assert all(run.values())


def parts_in(dsn: str, query: str, *values: Any) -> set[str]:
    """The parts that a plan looks into."""
    plan = rows(dsn, f"explain (format json) {query}", *values)[0][0][0]["Plan"]
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}


def test_an_id_is_looked_for_in_one_part_and_the_time_of_a_person_in_each(parted: Any) -> None:
    """The price: what is asked by person and time knows no id, and host rows may have any."""
    everywhere = {name.rpartition(".")[2] for name, *_ in rows(parted.admin_dsn, IN_PARTS)}
    newest = rows(parted.admin_dsn, "select max(id) from public.glucose_readings where id < '02'")[0][0]

    by_id = parts_in(parted.admin_dsn, "select value from public.glucose_readings where id = %s", newest)
    by_time = parts_in(
        parted.admin_dsn,
        'select value from public.glucose_readings where person_id = %s and "timestamp" > current_date',
        id_of("person", 1),
    )

    assert len(by_id) == 1
    assert by_time == everywhere


def test_the_next_part_is_made_before_its_time_comes_and_not_after(parted: Any) -> None:
    make = "create table cgm_parts.{} partition of public.glucose_readings for values from ('{}') to ('{}')"
    # All that lies in the part for all else are ids that are no time: from 2039 on, by their first digits. A few may
    # begin as those of a later year do.
    taken = {begin for (begin,) in rows(parted.admin_dsn, "select distinct left(id, 4) from public.glucose_readings")}
    free = next(n for n in range(0x01B0, 0x01FF) if f"{n:04x}" not in taken)
    rows(parted.admin_dsn, make.format("later", f"{free:04x}", f"{free + 1:04x}"))
    # The first part reaches from the smallest id to its day: another cannot begin in it.
    with pytest.raises(errors.InvalidObjectDefinition):
        rows(parted.admin_dsn, make.format("earlier", "0100", "0101"))
    # Somebody's id lies there already.
    with pytest.raises(errors.CheckViolation):
        rows(parted.admin_dsn, make.format("too_late", "0200", "ff"))


@pytest.mark.parametrize("key", ['"timestamp"', "person_id"])
def test_by_time_or_by_person_the_reports_primary_key_cannot_be_kept(database: Any, key: str) -> None:
    rows(database.owner_dsn, f"create table public.other (like public.glucose_readings) partition by range ({key})")

    with pytest.raises(errors.FeatureNotSupported, match=r"must include all partitioning columns|lacks column"):
        rows(database.owner_dsn, "alter table public.other add primary key (id)")


async def reports_own(database: Any) -> Any:
    """The report's production database, migrated, and its readings in parts."""
    await lay(database, "production", host_rls="on")
    await migrate(database.admin_dsn, unknown="quarantine")
    partition(database.admin_dsn, *days_before(datetime.now(UTC)))
    return database


async def test_prisma_sees_the_table_that_it_knows(prisma: Path, make_empty_database: Any) -> None:
    database = await reports_own(make_empty_database())
    rows(database.admin_dsn, """insert into public."Person" (id, "ownerId") values ('person-prisma', 'somebody')""")

    compared = script(prisma, "diff.mjs", database.admin_dsn)
    used = script(prisma, "client.mjs", database.admin_dsn, PERSON_ID="person-prisma")

    assert compared["script"].strip() == NOTHING_TO_DO
    assert (used["readings"], used["found"], used["left"]) == (1, True, None)


async def test_it_holds_on_fifteen(debian_url: str) -> None:
    with fresh_places(debian_url) as (place,):
        database = await reports_own(place)
        same = (
            'insert into public.glucose_readings (id, person_id, "timestamp", value, source)'
            ' select id, person_id, "timestamp", value, source from public.glucose_readings on conflict (id) do nothing'
        )
        before = rows(database.admin_dsn, COUNTED)
        rows(database.admin_dsn, same)

        assert rows(database.admin_dsn, COUNTED) == before
        assert before[0][0] > 0
        assert await migrate(database.admin_dsn) == []
        rows(database.admin_dsn, 'delete from public."Person"')
        assert rows(database.admin_dsn, COUNTED)[0][0] == 0


def test_a_view_that_reads_the_table_and_a_second_run_are_refused_and_nothing_changes(whole: Any) -> None:
    rows(whole.owner_dsn, "create view public.newest as select max(id) from public.glucose_readings")
    with pytest.raises(errors.RaiseException, match="a view reads"):
        partition(whole.owner_dsn, *days_before(datetime.now(UTC)))
    rows(whole.owner_dsn, "drop view public.newest")

    partition(whole.owner_dsn, *days_before(datetime.now(UTC)))
    with pytest.raises(errors.RaiseException, match="in parts already"):
        partition(whole.owner_dsn, *days_before(datetime.now(UTC)))
