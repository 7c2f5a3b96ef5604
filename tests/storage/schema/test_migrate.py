"""Our runner: what it applies and records, what it adopts, and what stops it."""

import re
import secrets

import psycopg
import pytest
from by_hand import CONNECTIONS, VERSIONS, rows, run, run_as_one, run_as_psql
from psycopg import AsyncConnection, sql
from starts import lay, snapshot_of

from evercgm.storage.schema.bootstrap import BootstrapError, bootstrap_standalone
from evercgm.storage.schema.drift import differences
from evercgm.storage.schema.migrate import migrate, pending, plan
from evercgm.storage.schema.migration_files import MigrationError, migrations
from evercgm.storage.schema.repair import repair


async def test_an_empty_database_reaches_the_target_and_a_second_run_does_nothing(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)

    first = await migrate(fresh.owner_dsn)
    reached = await snapshot_of(fresh.owner_dsn)
    await bootstrap_standalone(fresh.owner_dsn)
    second = await migrate(fresh.owner_dsn)

    assert [applied.version for applied in first] == VERSIONS
    assert not any(applied.existed for applied in first)
    assert second == []
    assert differences(reached, await snapshot_of(fresh.owner_dsn)) == []


async def test_without_a_host_app_nothing_is_left_behind(make_empty_database):
    fresh = make_empty_database()

    with pytest.raises(MigrationError, match=r"20251016000001_add_cgm_connection\.sql"):
        await migrate(fresh.owner_dsn)

    assert rows(fresh.admin_dsn, "select to_regtype('\"CGMConnectionStatus\"')") == [(None,)]
    assert rows(fresh.admin_dsn, "select to_regclass('supabase_migrations.schema_migrations')") == [(None,)]


async def test_production_keeps_its_rows_and_is_told_that_its_objects_existed(make_empty_database):
    fresh = make_empty_database()
    await lay(fresh, "production")
    before = rows(fresh.admin_dsn, CONNECTIONS)

    applied = await migrate(fresh.admin_dsn)

    assert [(version, version == VERSIONS[0]) for version in VERSIONS] == [
        (one.version, one.existed) for one in applied
    ]
    assert before == rows(fresh.admin_dsn, CONNECTIONS)
    statements = "select version, statements from supabase_migrations.schema_migrations where version = any(%s)"
    recorded = rows(fresh.admin_dsn, statements.replace("%s", f"array{VERSIONS}"))
    assert dict(recorded) == {migration.version: [migration.text()] for migration in migrations()}


async def test_what_was_recorded_and_is_gone_is_drift(make_empty_database):
    fresh = make_empty_database()
    await lay(fresh, "staging")
    run(fresh.admin_dsn, "drop index cgm_connections_status_idx")

    with pytest.raises(MigrationError, match=r"is recorded as applied, but .*cgm_connections_status_idx is missing"):
        await migrate(fresh.admin_dsn, unknown="quarantine")


GONE = {
    VERSIONS[0]: "drop index cgm_connections_status_idx",
    VERSIONS[1]: "drop index cgm_connections_last_sync_at_idx",
    VERSIONS[2]: "drop index cgm_private.sync_state_next_sync_at_idx",
    VERSIONS[3]: "drop trigger cgm_connections_updated_at on cgm_connections;"
    ' drop policy "cgm_worker may keep readings" on glucose_readings',
}


@pytest.mark.parametrize("version", list(GONE))
async def test_what_is_gone_comes_back_by_the_way_that_the_refusal_names(database, version):
    before = await snapshot_of(database.owner_dsn)
    run(database.owner_dsn, GONE[version])
    with pytest.raises(MigrationError, match="Nothing was changed; evercgm db migrate --repair") as told:
        await migrate(database.owner_dsn)
    (named,) = re.findall(r"evercgm db migrate --repair (\d+)", str(told.value))

    done = await repair(database.owner_dsn, named)

    assert (done.version, done.left) == (version, ())
    assert await migrate(database.owner_dsn) == []
    assert await snapshot_of(database.owner_dsn) == before


@pytest.mark.parametrize("mode", ["disable", "enable replica", "enable always"])
@pytest.mark.parametrize(
    ("table", "trigger", "version"),
    [
        ("cgm_connections", "cgm_connections_updated_at", VERSIONS[3]),
        ("cgm_jobs.pgqueuer", "tg_pgqueuer_changed", VERSIONS[4]),
    ],
)
async def test_a_trigger_that_does_not_fire_as_it_was_made_is_another_form(database, table, trigger, version, mode):
    run(database.admin_dsn, f"alter table {table} {mode} trigger {trigger}")
    found = rf"found CREATE TRIGGER {trigger} .*\({mode.split()[-1]}d?\)"

    with pytest.raises(MigrationError, match=f"{version}_.* is recorded as applied, but .*{found}"):
        await migrate(database.owner_dsn)
    with pytest.raises(psycopg.Error, match=found):
        run_as_psql(database.owner_dsn, migrations()[VERSIONS.index(version)].path)


# How a role may be set up that the sample files never met.
WAYS = {"quote_all_identifiers": "on", "standard_conforming_strings": "off"}


@pytest.mark.parametrize("by", ["our runner", "one transaction"])
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
async def test_a_role_s_own_ways_of_quoting_change_nothing(postgres, encoding, by):
    name = f"test_ways_{secrets.token_hex(4)}"
    postgres.execute(
        sql.SQL(f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")
    )
    fresh = postgres.database(name)
    try:
        await lay(fresh, "staging")
        with psycopg.connect(fresh.admin_dsn, autocommit=True) as connection:
            for way, value in WAYS.items():
                connection.execute(f"alter database {name} set {way} = {value}")

        if by == "our runner":
            await migrate(fresh.admin_dsn, unknown="quarantine")
        else:
            for migration in migrations():
                run_as_one(fresh.admin_dsn, migration.path)

        assert rows(fresh.admin_dsn, "select id from cgm_private.quarantined_connections order by id") == [
            ("conn-a2",), ("conn-b2",), ("conn-b3",)
        ]  # fmt: skip
        assert {step.action for step in (await plan(fresh.admin_dsn)).steps} == (
            {"nothing"} if by == "our runner" else {"nothing", "adopt"}
        )
    finally:
        postgres.drop(name)


async def test_the_service_sees_which_migrations_are_missing(database):
    async with await AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        await connection.execute("set role cgm_worker")

        assert await pending(connection) == []

    run(database.admin_dsn, f"delete from supabase_migrations.schema_migrations where version = '{VERSIONS[-1]}'")
    async with await AsyncConnection.connect(database.service_dsn, autocommit=True) as connection:
        await connection.execute("set role cgm_worker")

        assert VERSIONS[-1:] == await pending(connection)


async def test_bootstrap_refuses_a_database_that_has_a_host_app(make_empty_database):
    fresh = make_empty_database()
    await lay(fresh, "production")

    with pytest.raises(BootstrapError, match=r"auth\.users exists"):
        await bootstrap_standalone(fresh.admin_dsn)


async def test_bootstrap_refuses_a_person_table_of_another_form(make_empty_database):
    fresh = make_empty_database()
    run(fresh.owner_dsn, 'create table public."Person" (id bigint primary key)')

    with pytest.raises(BootstrapError, match=r'"Person"\.id is bigint, expected text'):
        await bootstrap_standalone(fresh.owner_dsn)


async def test_what_somebody_undoes_while_a_file_runs_is_noticed_and_the_file_taken_back(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)
    run(
        fresh.admin_dsn,
        """create function undo() returns event_trigger language plpgsql
           as $$ begin drop index if exists cgm_private.sync_state_next_sync_at_idx; end $$""",
        "create event trigger undoing on ddl_command_end when tag in ('CREATE INDEX') execute function undo()",
    )

    with pytest.raises(MigrationError, match=r"20261124000002.*sync_state_next_sync_at_idx is missing"):
        await migrate(fresh.admin_dsn)

    recorded = rows(fresh.admin_dsn, "select version from supabase_migrations.schema_migrations order by 1")
    assert [version for (version,) in recorded] == VERSIONS[:2]
    assert rows(fresh.admin_dsn, "select to_regclass('cgm_private.sync_state')") == [(None,)]
