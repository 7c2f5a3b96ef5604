"""Applies supabase/migrations in order, each once, with the history table that the Supabase CLI keeps.

A file and its row in the history are one transaction. Versions recorded by others are the host app's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection

from evercgm.core.errors import EvercgmError

_FILE_NAME = re.compile(r"^([0-9]{14})_(.*)\.sql$")
_LOCK = 0x6576657263676D  # "evercgm": one runner at a time in a database
_FIRST = "20251016000001"
_MAKE_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
"""


class MigrationError(EvercgmError):
    """A migration stopped and left nothing behind; the message names the file and the database's reason."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of supabase/migrations."""

    version: str
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration that this run recorded; ``existed``: its objects were there, the record was missing."""

    version: str
    name: str
    existed: bool


def migrations() -> list[Migration]:
    """All migrations in order, from the wheel or from the checkout that this package lies in."""
    shipped = Path(__file__).parent / "migrations"
    folder = shipped if shipped.is_dir() else Path(__file__).parents[3] / "supabase" / "migrations"
    if not folder.is_dir():
        raise MigrationError(f"no migrations found in {folder}")
    matched = ((path, _FILE_NAME.match(path.name)) for path in sorted(folder.glob("*.sql")))
    return [Migration(match.group(1), match.group(2), path) for path, match in matched if match]


async def migrate(
    dsn: str,
    *,
    unknown: Literal["abort", "quarantine"] = "abort",
    compat: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> list[Applied]:
    """Apply what is missing as the role of ``dsn``; answers what this run recorded.

    ``unknown``: what happens to connections whose provider no alias names. ``compat``: keep the grants of the
    first form. Raises MigrationError; the files before the failed one stay applied.
    """
    applied: list[Applied] = []
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        for migration in migrations():
            try:
                result = await _apply(connection, migration, unknown, compat)
            except psycopg.Error as error:
                raise MigrationError(_explain(migration, error)) from error
            if result is None:
                continue
            applied.append(result)
            existed = " (its objects already existed)" if result.existed else ""
            report(f"applied {migration.version} {migration.name}{existed}")
    return applied


async def pending(connection: AsyncConnection[Any]) -> list[str]:
    """Versions that are not recorded; needs the rights of cgm_worker or of the migrating role."""
    async with connection.transaction():
        recorded = await _recorded(connection)
    return [migration.version for migration in migrations() if migration.version not in recorded]


async def _apply(connection: AsyncConnection[Any], migration: Migration, unknown: str, compat: bool) -> Applied | None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        if migration.version in await _recorded(connection):
            return None
        await connection.execute(_MAKE_HISTORY)
        existed = migration.version == _FIRST and await _exists(connection, "public.cgm_connections")
        await connection.execute(
            "select set_config('cgm.unknown', %s, true), set_config('cgm.compat', %s, true)",
            [unknown, "on" if compat else "off"],
        )
        text = migration.path.read_text(encoding="utf-8")
        await connection.execute(text.encode())
        await connection.execute(
            "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
            [migration.version, [text], migration.name],
        )
        return Applied(migration.version, migration.name, existed)


async def _recorded(connection: AsyncConnection[Any]) -> set[str]:
    if not await _exists(connection, "supabase_migrations.schema_migrations"):
        return set()
    cursor = await connection.execute("select version from supabase_migrations.schema_migrations")
    return {row[0] for row in await cursor.fetchall()}


async def _exists(connection: AsyncConnection[Any], table: str) -> bool:
    cursor = await connection.execute("select to_regclass(%s) is not null", [table])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


def _explain(migration: Migration, error: psycopg.Error) -> str:
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return f"{migration.path.name}: {error.diag.message_primary or error}{hint}"
