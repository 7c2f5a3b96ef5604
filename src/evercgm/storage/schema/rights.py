"""Refuses to work with more rights than the service needs: no superuser, no owner, no way around row security."""

from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.core.errors import SettingsError
from evercgm.storage.address import connect
from evercgm.storage.database import load_queries

QUERIES = load_queries("schema/rights.sql")


async def refuse_too_much(dsn: str, setting: str = "DATABASE_URL") -> None:
    """Raises SettingsError where the role of ``setting`` may do too much, or the database cannot be used.

    Too much: superuser, owner of our tables, BYPASSRLS, or able to become such a role or service_role, itself or
    over other memberships. What counts is who logs in: a role set by the DSN's options can be laid down.
    """
    try:
        async with await connect(dsn, setting, prepare_threshold=None) as conn:
            row = await (await conn.cursor(row_factory=dict_row).execute(QUERIES["session"].encode())).fetchone()
            excess = await excess_of(conn, row["role"]) if row else []
    except psycopg.Error as failure:
        raise SettingsError(f"{setting}: the database does not answer or refuses ({type(failure).__name__})") from None
    if row is None:
        raise SettingsError(f"{setting}: its role is not known to the database")
    if excess:
        what = f"role {row['role']} {' and '.join(excess)}"
        raise SettingsError(f"{setting}: {what}; use one made by `evercgm db login-role`")
    if not row["migrated"]:
        raise SettingsError(f"{setting}: this database is not migrated; run `evercgm db migrate` first")


async def excess_of(connection: AsyncConnection[Any], role: str) -> list[str]:
    """What a role may do beyond the service's work, in words: "is a superuser", "may become service_role"."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(QUERIES["excess"], {"role": role})
    return [row["excess"] for row in await cursor.fetchall()]
