"""Applies supabase/migrations in order, each once, with the history table that the Supabase CLI keeps.

A file and its row in the history are one transaction. What is there already is compared with what the file makes: the
same is recorded ("already existed"), another form stops the run. Versions recorded by others are the host app's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection

from evercgm.storage.schema.catalog import read_history, read_snapshot
from evercgm.storage.schema.migration_files import Migration, MigrationError, migrations
from evercgm.storage.schema.plan import Step, step_of
from evercgm.storage.schema.reach import reached_to_migrate
from evercgm.storage.schema.snapshot import Snapshot

SETTING = "MIGRATION_DATABASE_URL"
_LOCK = 0x6576657263676D  # "evercgm": one runner at a time in a database
_LOCK_PATIENCE = "120s"
_MAKE_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
"""
Report = Callable[[str], None]
Unknown = Literal["abort", "quarantine"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that this run recorded; ``existed``: its objects were there, the record was missing."""

    version: str
    name: str
    existed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """``steps``: ours, in order. ``foreign``: recorded versions that are the host app's. ``providers``: see below."""

    steps: tuple[Step, ...]
    foreign: tuple[tuple[str, str], ...]
    # Spellings of cgm_connections.provider and their counts, where they are still text.
    providers: tuple[tuple[str, int], ...]


async def plan(dsn: str) -> Plan:
    """What ``migrate`` would do. Changes nothing. Raises SettingsError as ``migrate`` does."""
    async with reached_to_migrate(dsn, SETTING) as connection:
        snapshot = await read_snapshot(connection)
        own = {migration.version for migration in migrations()}
        foreign = tuple((version, name) for version, name in (snapshot.history or {}).items() if version not in own)
        return Plan(_steps(snapshot), foreign, await _spellings(connection))


async def migrate(
    dsn: str, *, unknown: Unknown = "abort", compat: bool = False, report: Report = lambda _: None
) -> list[Applied]:
    """Apply what is missing as the role of ``dsn``; answers what this run recorded.

    ``unknown``: what happens to connections whose provider no alias names. ``compat``: keep the grants of the
    first form. Raises MigrationError (the files before the failed one stay applied), and SettingsError where the
    database cannot be reached, not be changed by this role, or only through a transaction pooler.
    """
    applied: list[Applied] = []
    async with reached_to_migrate(dsn, SETTING) as connection:
        snapshot = await read_snapshot(connection)
        _stop_at_drift(snapshot)
        for migration, step in zip(migrations(), _steps(snapshot), strict=True):
            if step.action == "nothing":
                continue
            try:
                result = await _apply(connection, migration, unknown, compat, report)
            except psycopg.Error as error:
                raise MigrationError(_explain(migration, error)) from error
            if result is not None:
                applied.append(result)
                existed = " (its objects already existed)" if result.existed else ""
                report(f"applied {migration.version} {migration.name}{existed}")
    return applied


async def pending(connection: AsyncConnection[Any]) -> list[str]:
    """Versions that are not recorded; needs the rights of cgm_worker or of the migrating role."""
    recorded = (await read_history(connection))[0] or {}
    return [migration.version for migration in migrations() if migration.version not in recorded]


def _steps(snapshot: Snapshot) -> tuple[Step, ...]:
    return tuple(step_of(one.version, one.name, snapshot.entries, snapshot.history or {}) for one in migrations())


def _stop_at_drift(snapshot: Snapshot) -> None:
    """Before anything is applied: what a recorded migration made must be there, as it made it."""
    for step in _steps(snapshot):
        if step.recorded and step.action == "stop":
            raise MigrationError(_drifted(step))


async def _apply(
    connection: AsyncConnection[Any], migration: Migration, unknown: str, compat: bool, report: Report
) -> Applied | None:
    async with connection.transaction():
        await _take_lock(connection, report)
        before = await _step(connection, migration)
        if before.action == "nothing":
            return None
        if before.action == "stop":
            raise MigrationError(_drifted(before) if before.recorded else _in_the_way(migration, before))
        await connection.execute(
            "select set_config('cgm.unknown', %s, true), set_config('cgm.compat', %s, true)",
            [unknown, "on" if compat else "off"],
        )
        await connection.execute(_MAKE_HISTORY)
        await connection.execute(migration.text().encode())
        await _record(connection, migration)
        after = await _step(connection, migration)
        if after.action != "nothing":
            raise MigrationError(_in_the_way(migration, after))
        return Applied(migration.version, migration.name, before.action == "adopt")


async def _take_lock(connection: AsyncConnection[Any], report: Report) -> None:
    row = await (await connection.execute("select pg_try_advisory_xact_lock(%s)", [_LOCK])).fetchone()
    if row is not None and row[0]:
        return
    report("another migration is running: waiting for it")
    await connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_PATIENCE])
    await connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])


async def _step(connection: AsyncConnection[Any], migration: Migration) -> Step:
    snapshot = await read_snapshot(connection)
    return step_of(migration.version, migration.name, snapshot.entries, snapshot.history or {})


async def _record(connection: AsyncConnection[Any], migration: Migration) -> None:
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
        [migration.version, [migration.text()], migration.name],
    )


async def _spellings(connection: AsyncConnection[Any]) -> tuple[tuple[str, int], ...]:
    row = await (await connection.execute("select to_regclass('public.cgm_connections') is not null")).fetchone()
    if row is None or not row[0]:
        return ()
    cursor = await connection.execute(
        "select c.provider::text, count(*) from public.cgm_connections c"
        " where pg_catalog.pg_typeof(c.provider) = 'text'::regtype group by c.provider order by c.provider"
    )
    return tuple((str(spelling), int(count)) for spelling, count in await cursor.fetchall())


def _drifted(step: Step) -> str:
    reasons = "; ".join(step.reasons())
    return (
        f"{step.version}_{step.name} is recorded as applied, but the database differs from what it made: {reasons}. "
        "Nothing was changed. See: evercgm db drift, evercgm db verify"
    )


def _in_the_way(migration: Migration, step: Step) -> str:
    return f"{migration.path.name}: objects stand in the way: {'; '.join(step.reasons())}. Nothing was changed"


def _explain(migration: Migration, error: psycopg.Error) -> str:
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return f"{migration.path.name}: {error.diag.message_primary or type(error).__name__}{hint}"
