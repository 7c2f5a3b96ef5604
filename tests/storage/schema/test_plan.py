"""The plan says what a run will do, in full, and changes nothing; the run then does just that."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from evercgm.core.errors import SettingsError
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.migrate import Plan, migrate, plan
from evercgm.storage.schema.migration_files import MigrationError, migrations
from evercgm.storage.schema.plan import step_of
from evercgm.storage.schema.preview import Spelling
from evercgm.storage.schema.target import finished, target

FIRST, CONVERSION, *OTHERS = [migration.version for migration in migrations()]
STARTS = ("empty", "standalone", "staging", "production")

# Catalogs and rows, each with the number of the transaction that wrote it.
EVERYTHING = """
select array[
  (select string_agg(format('%s %s %s', c.xmin, c.oid, c.relacl), ',' order by c.oid) from pg_class c),
  (select string_agg(a.xmin || a::text, ',' order by a.attrelid, a.attnum)
     from pg_attribute a
    where a.attrelid >= 16384),
  (select string_agg(n.xmin || n::text, '' order by n.oid) from pg_namespace n),
  (select string_agg(t.xmin || t::text, '' order by t.oid) from pg_type t where t.oid >= 16384),
  case when to_regclass('public.cgm_connections') is not null
       then query_to_xml('select xmin, c.* from public.cgm_connections c order by id', true, true, '')::text end]
"""
LOCKS_OF_OTHERS = """
select distinct case when l.granted then l.locktype else 'waits' end, l.mode
  from pg_locks l
  join pg_stat_activity a on a.pid = l.pid
 where a.datname = current_database() and l.pid not in (pg_backend_pid(), %s)
   and a.backend_type = 'client backend' -- autovacuum comes when it likes
"""


@pytest.fixture
def start(make_empty_database: Callable[[], Any], shared_dir: Path) -> Callable[[str], Any]:
    """A database in one of the shapes that an app may begin with."""

    def make(shape: str) -> Any:
        fresh = make_empty_database()
        if shape in ("staging", "production"):
            execute(fresh.admin_dsn, (shared_dir / f"database/{shape}.sql").read_text())
        return fresh

    return make


def execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def value(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def actions(found: Plan) -> list[str]:
    return [step.action for step in found.steps]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("staging", ["nothing", "apply", "apply", "apply", "apply"]),
        ("production", ["adopt", "complete", "apply", "apply", "apply"]),
        ("standalone", ["apply", "apply", "apply", "apply", "apply"]),
    ],
)
async def test_each_start_has_its_plan_and_the_run_follows_it(start, shape: str, expected: list[str]) -> None:
    fresh = start(shape)
    if shape == "standalone":
        await bootstrap_standalone(fresh.owner_dsn)

    found = await plan(fresh.admin_dsn, unknown="quarantine")
    applied = await migrate(fresh.admin_dsn, unknown="quarantine")
    after = await plan(fresh.admin_dsn)

    assert actions(found) == expected
    assert not found.would_stop
    assert [one.version for one in applied] == [step.version for step in found.steps if step.action != "nothing"]
    assert [one.existed for one in applied] == [step.action == "adopt" for step in found.steps if not step.recorded]
    assert actions(after) == ["nothing"] * 5
    assert (after.spellings, after.obstacles) == ((), ())


async def test_each_spelling_is_told_with_what_becomes_of_it(start) -> None:
    fresh = start("staging")

    found = await plan(fresh.admin_dsn)

    assert found.spellings == (
        Spelling("Dexcom", "dexcom", 1, second=1, readings=1),
        Spelling("Dexcom G7", "dexcom", 1, second=0, readings=0),
        Spelling("dexcom", "dexcom", 2, second=0, readings=0),
        Spelling(" LIBRE ", "libre", 1, second=0, readings=0),
        Spelling("freestyle", "libre", 1, second=0, readings=0),
        Spelling("Medtronic", "medtronic", 1, second=0, readings=0),
        Spelling("", None, 1, second=0, readings=0),
        Spelling("eversense", None, 1, second=0, readings=1),
    )
    assert found.would_stop
    assert [obstacle.version for obstacle in found.obstacles] == [CONVERSION]
    assert "2 connections" in found.obstacles[0].words
    assert "--unknown=quarantine" in found.obstacles[0].words


async def test_what_the_plan_counts_is_what_the_conversion_does(start) -> None:
    fresh = start("staging")
    execute(
        fresh.admin_dsn,
        """
        insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, status,
                                     last_sync_at, updated_at)
        select 'odd-' || n, 'person-dora', spelling, '', '', '2026-01-01', 'connected', '2025-01-01', '2025-01-01'
          from unnest(array['FreeStyle\u00a0 Libre\t3', 'libre', 'Libre', 'MiniMed', 'mini med', 'D%excom', '{x}'])
               with ordinality as s (spelling, n)
        """,
    )

    found = await plan(fresh.admin_dsn, unknown="quarantine")
    (conversion, *_) = await migrate(fresh.admin_dsn, unknown="quarantine")

    aside = sum(one.second if one.becomes else one.connections for one in found.spellings)
    assert conversion.put_aside == aside
    assert sum(one.connections for one in found.spellings) - aside == value(
        fresh.admin_dsn, "select count(*) from cgm_connections"
    )
    readings = sum(one.readings for one in found.spellings)
    query = "select sum(cardinality(reading_ids)) from cgm_private.quarantined_connections"
    assert value(fresh.admin_dsn, query) == readings


@pytest.mark.parametrize("shape", STARTS)
async def test_a_plan_changes_nothing(start, shape: str) -> None:
    fresh = start(shape)
    before = value(fresh.admin_dsn, EVERYTHING)

    await plan(fresh.admin_dsn, unknown="quarantine")

    assert value(fresh.admin_dsn, EVERYTHING) == before


async def test_a_plan_holds_no_lock_but_that_of_a_reader_and_takes_no_transaction_number(start) -> None:
    fresh = start("staging")

    with psycopg.connect(fresh.admin_dsn) as blocker:
        blocker.execute("lock table glucose_readings in access exclusive mode")
        waiting = asyncio.create_task(plan(fresh.admin_dsn))
        held: list[tuple[str, str]] = []
        while not any(kind == "waits" for kind, _mode in held):
            await asyncio.sleep(0.02)
            with psycopg.connect(fresh.admin_dsn) as watcher:
                held = watcher.execute(LOCKS_OF_OTHERS, [blocker.info.backend_pid]).fetchall()
        blocker.rollback()
        found = await waiting

    assert set(held) == {("waits", "AccessShareLock"), ("relation", "AccessShareLock"), ("virtualxid", "ExclusiveLock")}
    assert len(found.spellings) == 8


async def test_a_plan_does_not_wait_for_writers_nor_they_for_it(start) -> None:
    fresh = start("staging")

    with psycopg.connect(fresh.admin_dsn) as writer:
        writer.execute("update cgm_connections set device_id = 'x'")
        writer.execute("lock table cgm_connections in share row exclusive mode")

        found = await plan(fresh.admin_dsn)

    assert len(found.spellings) == 8


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ("create view seen as select provider from cgm_connections", "view public.seen"),
        (
            "create policy own on cgm_connections using (provider = 'x')",
            "policy own on table public.cgm_connections",
        ),
    ],
)
async def test_what_blocks_the_conversion_is_named_before_the_run(start, spoilt: str, words: str) -> None:
    fresh = start("staging")
    execute(fresh.admin_dsn, spoilt)

    found = await plan(fresh.admin_dsn, unknown="quarantine")

    assert [obstacle.version for obstacle in found.obstacles] == [CONVERSION]
    assert words in found.obstacles[0].words


async def test_without_a_host_app_plan_and_run_say_what_is_missing(start) -> None:
    fresh = start("empty")

    found = await plan(fresh.admin_dsn)

    assert found.would_stop
    assert [obstacle.version for obstacle in found.obstacles] == [FIRST]
    for part in ('table public."Person"', "table public.glucose_readings", "auth.uid()", "db bootstrap --standalone"):
        assert part in found.obstacles[0].words
    with pytest.raises(MigrationError, match=r"db bootstrap --standalone\. Nothing was changed"):
        await migrate(fresh.admin_dsn)
    assert value(fresh.admin_dsn, "select to_regnamespace('supabase_migrations')") is None


@pytest.mark.parametrize("labels", ["'dexcom', 'libre'", "'dexcom', 'libre', 'abbott', 'medtronic', 'other'"])
async def test_an_enum_with_other_labels_is_a_stop(start, labels: str) -> None:
    fresh = start("staging")
    execute(fresh.admin_dsn, f'create type "CGMProvider" as enum ({labels})')

    found = await plan(fresh.admin_dsn, unknown="quarantine")

    assert actions(found) == ["nothing", "stop", "apply", "apply", "apply"]
    (wrong,) = found.steps[1].wrong
    assert (str(wrong.key), wrong.found) == ('enum public."CGMProvider"', labels)
    with pytest.raises(MigrationError, match="objects stand in the way: enum ") as told:
        await migrate(fresh.admin_dsn, unknown="quarantine")
    assert "is missing" not in str(told.value)


async def test_a_recorded_migration_whose_objects_changed_is_drift(start) -> None:
    fresh = start("staging")
    execute(fresh.admin_dsn, "drop index cgm_connections_status_idx")

    found = await plan(fresh.admin_dsn, unknown="quarantine")

    assert actions(found) == ["stop", "apply", "apply", "apply", "apply"]
    with pytest.raises(MigrationError, match="cgm_connections_status_idx is missing"):
        await migrate(fresh.admin_dsn, unknown="quarantine")
    assert value(fresh.admin_dsn, "select to_regnamespace('cgm_private')") is None


async def test_versions_of_others_are_the_host_apps(start) -> None:
    found = await plan(start("production").admin_dsn)

    assert found.foreign == (("20251010090002", "create_food_photos_bucket"),)


async def test_a_reader_may_not_plan_a_migration(start) -> None:
    fresh = start("production")
    name = sql.Identifier(fresh.name).as_string()
    execute(fresh.admin_dsn, f"alter database {name} set default_transaction_read_only = on")

    with pytest.raises(SettingsError, match="read-only"):
        await plan(fresh.admin_dsn)


def test_a_form_that_a_later_migration_gives_counts_as_there() -> None:
    steps = [step_of(version, "", finished(), ()) for version in target()]

    assert [step.action for step in steps] == ["adopt"] * 5


def test_an_earlier_form_is_told_as_such() -> None:
    entries = target()[FIRST]

    step = step_of(CONVERSION, "", entries, (CONVERSION,))

    assert step.action == "stop"
    assert [str(wrong.key) for wrong in step.outdated] == ["column public.cgm_connections.provider"]
    assert any(reason.endswith("found text not null") for reason in step.reasons())
    assert "column public.cgm_connections.provider is missing" not in step.reasons()
