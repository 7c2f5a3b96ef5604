"""Reads the shape of a database from its catalog; any login role may, and nothing is changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import dict_row

from evercgm.storage.database import load_queries
from evercgm.storage.schema.reach import reached
from evercgm.storage.schema.snapshot import Key, Snapshot, canonical

QUERIES = load_queries("schema/catalog.sql")
# Queries of objects, by the kind that an entry of theirs has.
_KINDS = {
    "schemas": "schema",
    "enums": "enum",
    "tables": "table",
    "columns": "column",
    "constraints": "constraint",
    "indexes": "index",
    "policies": "policy",
    "triggers": "trigger",
    "functions": "function",
    "grants": "grant",
    "schema_grants": "schema grant",
    "function_grants": "function grant",
    "roles": "role",
    "default_privileges": "default privileges",
}

_SEPARATORS = {
    "function": "",
    "grant": " to ",
    "schema grant": " to ",
    "function grant": " to ",
    "policy": " ",
    "trigger": " ",
}


@asynccontextmanager
async def reading(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A (sub)transaction in which every name is printed with its schema, and in quotes only where it needs them.

    The old search_path comes back after it.
    """
    async with connection.transaction():
        row = await (await connection.execute("select current_setting('search_path')")).fetchone()
        await connection.execute(
            "select set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true)"
        )
        yield
        old = next(iter(row.values())) if isinstance(row, dict) else row[0] if row else ""
        await connection.execute("select set_config('search_path', %s, true)", [old])


async def snapshot_at(dsn: str, setting: str) -> Snapshot:
    """The shape of the database at ``dsn``. Raises SettingsError naming ``setting`` where it cannot be reached."""
    async with reached(dsn, setting) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        return await read_snapshot(connection)


async def read_snapshot(connection: AsyncConnection[Any]) -> Snapshot:
    """The shape as this role sees it.

    The history comes first: what another session commits meanwhile is then there and not recorded, and never the
    other way round, which would be drift.
    """
    async with reading(connection):
        history, hidden = await read_history(connection)
        entries = await read_entries(connection)
        version, owner = await _read_server(connection)
    return Snapshot(entries, history, hidden, version, owner)


async def read_entries(connection: AsyncConnection[Any]) -> dict[Key, str]:
    """All objects by key; to be called inside ``reading``."""
    entries: dict[Key, str] = {}
    cursor = connection.cursor(row_factory=dict_row)
    for query, kind in _KINDS.items():
        await cursor.execute(QUERIES[query].encode())
        for row in await cursor.fetchall():
            entries[Key(kind, _name(kind, row))] = canonical(row["definition"] or "")
    return entries


def _name(kind: str, row: dict[str, Any]) -> str:
    table, name = row.get("table_name"), str(row["name"])
    if table is None:
        return name
    separator = _SEPARATORS.get(kind, ".")
    return f"{table}{separator}{name}"


async def read_history(connection: AsyncConnection[Any]) -> tuple[dict[str, str] | None, bool]:
    """Version → name, None without a history; and whether there is one that may not be read."""
    cursor = connection.cursor(row_factory=dict_row)
    row = await (await cursor.execute(QUERIES["history_readable"].encode())).fetchone()
    readable = row["readable"] if row else None
    if not readable:
        return None, readable is False
    await cursor.execute(QUERIES["history"].encode())
    return {one["version"]: one["name"] for one in await cursor.fetchall()}, False


async def has_service_role(connection: AsyncConnection[Any]) -> bool:
    """Whether the server has Supabase's role of this name."""
    row = await (await connection.execute(QUERIES["has_service_role"].encode())).fetchone()
    return bool(row and row[0])


async def _read_server(connection: AsyncConnection[Any]) -> tuple[str, str]:
    cursor = connection.cursor(row_factory=dict_row)
    row = await (await cursor.execute(QUERIES["server"].encode())).fetchone()
    return (row["version"], row["owner"]) if row else ("", "")
