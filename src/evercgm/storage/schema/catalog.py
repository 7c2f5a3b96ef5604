"""Reads the shape of a database from its catalog; any login role may, and nothing is changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from evercgm.storage.database import load_queries
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
    "roles": "role",
    "default_privileges": "default privileges",
}


@asynccontextmanager
async def reading(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A (sub)transaction in which every name is printed with its schema; the old search_path comes back after it."""
    async with connection.transaction():
        row = await (await connection.execute("select current_setting('search_path')")).fetchone()
        await connection.execute("select set_config('search_path', '', true)")
        yield
        old = next(iter(row.values())) if isinstance(row, dict) else row[0] if row else ""
        await connection.execute("select set_config('search_path', %s, true)", [old])


async def read_snapshot(connection: AsyncConnection[Any]) -> Snapshot:
    """The shape as this role sees it."""
    async with reading(connection):
        entries = await read_entries(connection)
        history, hidden = await read_history(connection)
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
    separator = {"function": "", "grant": " to ", "policy": " ", "trigger": " "}.get(kind, ".")
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


async def _read_server(connection: AsyncConnection[Any]) -> tuple[str, str]:
    cursor = await connection.execute(
        sql.SQL(
            "select current_setting('server_version') as version, coalesce((select pg_get_userbyid(c.relowner)::text"
            " from pg_catalog.pg_class c where c.oid = to_regclass('public.cgm_connections')), '') as owner"
        )
    )
    row = await cursor.fetchone()
    version, owner = row.values() if isinstance(row, dict) else row or ("", "")
    return version.split(" ")[0], owner
