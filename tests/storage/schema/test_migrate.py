"""The five files reach one shape from every start, each once, and change nothing when run again."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from evercgm.storage.schema.bootstrap import BootstrapError, bootstrap_standalone
from evercgm.storage.schema.migrate import migrate, pending
from evercgm.storage.schema.migration_files import MigrationError, migrations

VERSIONS = [migration.version for migration in migrations()]

# Everything of ours that a migration could change, without column order; grants as sorted lists.
SNAPSHOT = """
with ours as (
  select c.oid, c.oid::regclass::text as name, c.relrowsecurity, c.relacl, c.relkind, c.relowner
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'S')
     and (n.nspname in ('cgm_private', 'cgm_jobs') or c.relname in ('cgm_connections', 'glucose_readings', 'Person'))
     and n.nspname not in ('pg_catalog', 'information_schema')
)
select 'table' as kind, name, relrowsecurity::text as definition from ours
union all
select 'column', o.name || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
  from ours o
  join pg_attribute a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where o.relkind = 'r'
union all
select 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
  from ours o join pg_index i on i.indrelid = o.oid
union all
select 'constraint', o.name || '.' || c.conname, pg_get_constraintdef(c.oid)
  from ours o join pg_constraint c on c.conrelid = o.oid
union all
select 'policy', o.name || '.' || p.polname,
       concat_ws(' ', p.polcmd, p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid))
  from ours o join pg_policy p on p.polrelid = o.oid
union all
select 'trigger', o.name || '.' || t.tgname, pg_get_triggerdef(t.oid)
  from ours o join pg_trigger t on t.tgrelid = o.oid and not t.tgisinternal
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
  from pg_proc p where p.pronamespace in (to_regnamespace('cgm_private'), to_regnamespace('cgm_jobs'))
union all
select 'grant', o.name, g.grantee::regrole::text || ' ' || g.privilege_type
  from ours o cross join lateral aclexplode(o.relacl) g where g.grantee <> o.relowner and g.grantee <> 0
union all
select 'column grant', o.name || '.' || a.attname, g.grantee::regrole::text || ' ' || g.privilege_type
  from ours o
  join pg_attribute a on a.attrelid = o.oid
  cross join lateral aclexplode(a.attacl) g
union all
select 'label', e.enumtypid::regtype::text, string_agg(e.enumlabel, ',' order by e.enumsortorder)
  from pg_enum e group by e.enumtypid
union all
select 'history', version, name from supabase_migrations.schema_migrations
order by 1, 2, 3
"""


def snapshot(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        connection.execute("set search_path = ''")
        return connection.execute(SNAPSHOT.encode()).fetchall()


def load(dsn: str, file: Path, *, host_rls: str = "off", auto_grants: str = "on") -> None:
    assert file.is_file(), f"{file} is missing"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"set seed.host_rls = '{host_rls}'".encode())
        connection.execute(f"set seed.auto_grants = '{auto_grants}'".encode())
        connection.execute(file.read_bytes())


def rows(dsn: str, query: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_an_empty_database_reaches_the_target_and_a_second_run_does_nothing(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)

    first = await migrate(fresh.owner_dsn)
    reached = snapshot(fresh.admin_dsn)
    await bootstrap_standalone(fresh.owner_dsn)
    second = await migrate(fresh.owner_dsn)

    assert [applied.version for applied in first] == VERSIONS
    assert not any(applied.existed for applied in first)
    assert second == []
    assert reached == snapshot(fresh.admin_dsn)


async def test_without_a_host_app_the_first_file_fails_and_leaves_nothing_behind(make_empty_database):
    fresh = make_empty_database()

    with pytest.raises(MigrationError, match=r"20251016000001_add_cgm_connection\.sql"):
        await migrate(fresh.owner_dsn)

    assert rows(fresh.admin_dsn, "select to_regtype('\"CGMConnectionStatus\"')") == [(None,)]
    assert rows(fresh.admin_dsn, "select to_regclass('supabase_migrations.schema_migrations')") == [(None,)]


@pytest.mark.parametrize("auto_grants", ["on", "off"])
@pytest.mark.parametrize("host_rls", ["on", "off"])
async def test_staging_and_production_reach_the_same_shape(make_empty_database, shared_dir, host_rls, auto_grants):
    shapes = {}
    for start in ("staging", "production"):
        fresh = make_empty_database()
        load(fresh.admin_dsn, shared_dir / f"database/{start}.sql", host_rls=host_rls, auto_grants=auto_grants)
        await migrate(fresh.admin_dsn, unknown="quarantine")
        shapes[start] = [row for row in snapshot(fresh.admin_dsn) if row[0] != "history"]

    assert shapes["staging"] == shapes["production"]


async def test_staging_connections_are_kept_or_quarantined_and_none_is_lost(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")

    applied = await migrate(fresh.admin_dsn, unknown="quarantine")

    assert VERSIONS[1:] == [one.version for one in applied]
    kept = rows(fresh.admin_dsn, "select id, provider::text from cgm_connections order by id")
    assert kept == [
        ("conn-a1", "dexcom"),
        ("conn-a3", "libre"),
        ("conn-b1", "dexcom"),
        ("conn-c1", "medtronic"),
        ("conn-k1", "libre"),
        ("conn-k2", "dexcom"),
    ]
    aside = rows(
        fresh.admin_dsn,
        "select id, reason, kept_id, reading_ids from cgm_private.quarantined_connections order by id",
    )
    assert aside == [
        ("conn-a2", "second_spelling", "conn-a1", ["r-04"]),
        ("conn-b2", "unknown_provider", None, ["r-08"]),
        ("conn-b3", "unknown_provider", None, []),
    ]
    moved = rows(
        fresh.admin_dsn,
        "select id, cgm_connection_id from glucose_readings where id in ('r-04', 'r-08') order by id",
    )
    assert moved == [("r-04", "conn-a1"), ("r-08", None)]


async def test_an_unknown_provider_stops_our_runner_unless_told_otherwise(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")

    with pytest.raises(MigrationError, match=r"conn-b2 \('eversense'\)") as stopped:
        await migrate(fresh.admin_dsn)

    assert "plain-" not in str(stopped.value)
    assert rows(fresh.admin_dsn, "select count(*) from cgm_connections where provider <> 'x'") == [(9,)]


async def test_production_keeps_its_rows_and_is_told_that_its_objects_existed(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/production.sql")
    query = "select to_jsonb(c) from cgm_connections c order by id"
    before = rows(fresh.admin_dsn, query)

    applied = await migrate(fresh.admin_dsn)

    assert [(version, version == VERSIONS[0]) for version in VERSIONS] == [
        (one.version, one.existed) for one in applied
    ]
    assert before == rows(fresh.admin_dsn, query)


async def test_a_connection_table_of_another_form_stops_with_its_difference(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/production.sql")
    with psycopg.connect(fresh.admin_dsn) as connection:
        connection.execute("alter table cgm_connections alter column error_message type varchar(10) using 'x'")

    with pytest.raises(MigrationError, match=r"error_message: expected text; found character varying\(10\)"):
        await migrate(fresh.admin_dsn)


async def test_a_view_on_provider_is_named_before_anything_changes(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    with psycopg.connect(fresh.admin_dsn) as connection:
        connection.execute("create view seen as select provider from cgm_connections")

    with pytest.raises(MigrationError, match="view public.seen"):
        await migrate(fresh.admin_dsn, unknown="quarantine")


async def test_two_runners_at_once_apply_each_file_once(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)

    results = await asyncio.gather(*(migrate(fresh.owner_dsn) for _ in range(3)))

    assert sorted(applied.version for result in results for applied in result) == VERSIONS


async def test_running_each_file_by_hand_again_changes_nothing(database):
    before = snapshot(database.admin_dsn)

    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        for migration in migrations():
            with connection.transaction():
                connection.execute(migration.path.read_bytes())

    assert before == snapshot(database.admin_dsn)


async def test_the_service_sees_which_migrations_are_missing(database):
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        await connection.execute("set role cgm_worker")

        assert await pending(connection) == []

    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("delete from supabase_migrations.schema_migrations where version = %s", VERSIONS[-1:])
    async with await psycopg.AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        await connection.execute("set role cgm_worker")

        assert VERSIONS[-1:] == await pending(connection)


async def test_bootstrap_refuses_a_database_that_has_a_host_app(make_empty_database, shared_dir):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/production.sql")

    with pytest.raises(BootstrapError, match=r"auth\.users exists"):
        await bootstrap_standalone(fresh.admin_dsn)


async def test_bootstrap_refuses_a_person_table_of_another_form(make_empty_database):
    fresh = make_empty_database()
    with psycopg.connect(fresh.owner_dsn) as connection:
        connection.execute('create table public."Person" (id bigint primary key)')

    with pytest.raises(BootstrapError, match=r'"Person"\.id is bigint, expected text'):
        await bootstrap_standalone(fresh.owner_dsn)


async def test_compat_leaves_the_grants_of_the_first_form(make_empty_database, shared_dir):
    granted = "select has_column_privilege('authenticated', 'cgm_connections', 'access_token', 'select')"
    for compat in (True, False):
        fresh = make_empty_database()
        load(fresh.admin_dsn, shared_dir / "database/production.sql")

        await migrate(fresh.admin_dsn, compat=compat)

        assert [(compat,)] == rows(fresh.admin_dsn, granted)
