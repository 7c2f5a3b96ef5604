"""Applies supabase/migrations in order, each once, with the history table that the Supabase CLI keeps.

A file and its row in the history are one transaction. What is there already is compared with what the file makes: the
same is recorded ("already existed"), another form stops the run. Versions recorded by others are the host app's.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel

from evercgm.storage.schema.api_rights import loose_rights
from evercgm.storage.schema.catalog import has_service_role, read_history, read_snapshot
from evercgm.storage.schema.mending import mend_of
from evercgm.storage.schema.migration_files import Migration, MigrationError, migrations
from evercgm.storage.schema.plan import Step, step_of
from evercgm.storage.schema.preview import (
    Obstacle,
    Spelling,
    Unknown,
    count_aside,
    foundation_obstacles,
    look_ahead,
)
from evercgm.storage.schema.reach import reached_to_migrate, refusal
from evercgm.storage.schema.snapshot import Snapshot
from evercgm.storage.schema.told import as_line, is_ours, may_be_told

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


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that this run applied; ``existed``: its objects were there, the record was missing.

    ``notices``: what the file had to say, counts of the conversion among it. ``put_aside``: connections that it
    put into quarantine. ``regranted``: why it ran although it was recorded, the grants that it set again.
    """

    version: str
    name: str
    existed: bool
    notices: tuple[str, ...] = ()
    put_aside: int = 0
    regranted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: ``steps`` are ours, in order; ``foreign`` the recorded versions that are the host app's.

    ``spellings``: of cgm_connections.provider, while it is text. ``obstacles``: why a run would stop, besides drift.
    """

    steps: tuple[Step, ...]
    foreign: tuple[tuple[str, str], ...]
    spellings: tuple[Spelling, ...]
    obstacles: tuple[Obstacle, ...]

    @property
    def would_stop(self) -> bool:
        """Whether a run ends with an error."""
        return bool(self.obstacles) or any(step.action == "stop" for step in self.steps)


async def plan(dsn: str, *, unknown: Unknown = "abort", compat: bool = False, setting: str = SETTING) -> Plan:
    """What ``migrate`` would do; changes nothing, and locks nothing that others need.

    Raises SettingsError as ``migrate`` does.
    """
    async with reached_to_migrate(dsn, setting) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        async with connection.transaction():
            await connection.execute(
                "select set_config('lock_timeout', '5s', true), set_config('search_path', '', true)"
            )
            snapshot, steps = await _look(connection, compat)
            spellings, obstacles = await look_ahead(connection, snapshot.entries, steps, unknown)
    own = {migration.version for migration in migrations()}
    foreign = tuple((version, name) for version, name in (snapshot.history or {}).items() if version not in own)
    return Plan(steps, foreign, spellings, obstacles)


async def migrate(
    dsn: str,
    *,
    unknown: Unknown = "abort",
    compat: bool = False,
    report: Report = lambda _: None,
    setting: str = SETTING,
) -> list[Applied]:
    """Apply what is missing as the role of ``dsn``; answers what this run applied.

    ``unknown``: what happens to connections whose provider no alias names. ``compat``: keep the grants of the
    first form. ``setting``: what holds the DSN, for messages. Raises MigrationError (the files before the failed
    one stay applied), and SettingsError where the database cannot be reached, not be changed by this role, or only
    through a transaction pooler.
    """
    applied: list[Applied] = []
    async with reached_to_migrate(dsn, setting) as connection, _said(connection) as notices:
        async with connection.transaction():
            await take_lock(connection, report)
            snapshot, steps = await _look(connection, compat)
        _stop_before(snapshot, steps)
        for migration, step in zip(migrations(), steps, strict=True):
            if step.action == "nothing":
                continue
            notices.clear()
            try:
                result = await _apply(connection, migration, unknown, compat, report)
            except psycopg.Error as error:
                raise MigrationError(_explain(migration, error)) from error
            if result is not None:
                applied.append(replace(result, notices=tuple(notices)))
                report("\n".join([_told(result), *(f"  {line}" for line in (*result.regranted, *notices))]))
    return applied


def _told(applied: Applied) -> str:
    what = "already existed, recorded" if applied.existed else "applied"
    if applied.regranted:
        what = "recorded already; these grants were not as it sets them, and are now"
    return f"{applied.version} {applied.name}: {what}"


@asynccontextmanager
async def _said(connection: AsyncConnection[Any]) -> AsyncIterator[list[str]]:
    """Collects what our files say, and the server's warnings; not "already exists, skipping", nor what others say."""
    said: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if is_ours(notice) or (notice.severity_nonlocalized == "WARNING" and may_be_told(notice)):
            said.append(as_line(notice.message_primary or ""))

    connection.add_notice_handler(hear)
    yield said
    connection.remove_notice_handler(hear)


async def pending(connection: AsyncConnection[Any]) -> list[str]:
    """Versions that are not recorded; needs the rights of cgm_worker or of the migrating role."""
    recorded = (await read_history(connection))[0] or {}
    return [migration.version for migration in migrations() if migration.version not in recorded]


async def _look(connection: AsyncConnection[Any], compat: bool) -> tuple[Snapshot, tuple[Step, ...]]:
    """The shape, and how it stands to each migration. A history that may not be read was refused before."""
    snapshot = await read_snapshot(connection)
    service_role = await has_service_role(connection)
    rights = loose_rights(snapshot.entries, compat=compat, service_role=service_role)
    recorded = snapshot.history or {}
    steps = (
        step_of(one.version, one.name, snapshot.entries, recorded, rights.get(one.version, ())) for one in migrations()
    )
    return snapshot, tuple(steps)


def _stop_before(snapshot: Snapshot, steps: tuple[Step, ...]) -> None:
    """Before anything is applied: nothing of ours is there in another form, and the host app's tables are there."""
    for migration, step in zip(migrations(), steps, strict=True):
        if step.action == "stop":
            raise MigrationError(_drifted(step) if step.recorded else _in_the_way(migration, step))
    obstacle = next(foundation_obstacles(snapshot.entries, steps), None)
    if obstacle is not None:
        raise MigrationError(f"{_file_of(obstacle.version)}: {obstacle.words}. Nothing was changed")


def _file_of(version: str) -> str:
    return next(migration.path.name for migration in migrations() if migration.version == version)


async def _apply(
    connection: AsyncConnection[Any], migration: Migration, unknown: str, compat: bool, report: Report
) -> Applied | None:
    async with connection.transaction():
        await take_lock(connection, report)
        before = await _step(connection, migration, compat)
        if before.action == "nothing":
            return None
        if before.action == "stop":
            raise MigrationError(_drifted(before) if before.recorded else _in_the_way(migration, before))
        await connection.execute(
            "select set_config('cgm.unknown', %s, true), set_config('cgm.compat', %s, true)",
            [unknown, "on" if compat else "off"],
        )
        if not before.recorded:
            await _make_history(connection)
        aside = await count_aside(connection)
        await connection.execute(migration.text().encode())
        if not before.recorded:
            await _record(connection, migration)
        after = await _step(connection, migration, compat)
        if after.action != "nothing":
            raise MigrationError(_in_the_way(migration, after))
        aside = await count_aside(connection) - aside
        regranted = tuple(as_line(one) for one in before.reasons()) if before.recorded else ()
        return Applied(
            migration.version, migration.name, before.action == "adopt", put_aside=aside, regranted=regranted
        )


async def take_lock(connection: AsyncConnection[Any], report: Report) -> None:
    row = await (await connection.execute("select pg_try_advisory_xact_lock(%s)", [_LOCK])).fetchone()
    if row is not None and row[0]:
        return
    report("another migration is running: waiting for it")
    await connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_PATIENCE])
    try:
        await connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
    except psycopg.errors.LockNotAvailable:
        raise MigrationError(f"another migration has not ended in {_LOCK_PATIENCE}: try again when it has") from None


async def _step(connection: AsyncConnection[Any], migration: Migration, compat: bool) -> Step:
    _, steps = await _look(connection, compat)
    return next(step for step in steps if step.version == migration.version)


async def _make_history(connection: AsyncConnection[Any]) -> None:
    """Not where it is there: IF NOT EXISTS asks for the right to make it all the same."""
    row = await (await connection.execute("select to_regclass('supabase_migrations.schema_migrations')")).fetchone()
    if row is None or row[0] is None:
        await connection.execute(_MAKE_HISTORY)


async def _record(connection: AsyncConnection[Any], migration: Migration) -> None:
    await connection.execute(
        "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
        [migration.version, [migration.text()], migration.name],
    )


def _drifted(step: Step) -> str:
    reasons = as_line("; ".join(step.reasons()))
    return (
        f"{step.version}_{step.name} is recorded as applied, but the database differs from what it made: {reasons}. "
        f"Nothing was changed; {mend_of(step)}"
    )


def _in_the_way(migration: Migration, step: Step) -> str:
    return f"{migration.path.name}: objects stand in the way: {as_line('; '.join(step.reasons()))}. Nothing was changed"


def _explain(migration: Migration, error: psycopg.Error) -> str:
    """The server's own sentence and advice; its details may hold rows, and are not repeated."""
    advice = as_line(error.diag.message_hint or "") if may_be_told(error.diag) else ""
    return f"{migration.path.name}: {refusal(error)}{f' ({advice})' if advice else ''}. Nothing of this file was kept"
