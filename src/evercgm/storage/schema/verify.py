"""Every check of one database, read-only, with any login role; what may not be read is told as unknown."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.core.errors import SettingsError
from evercgm.storage.address import parts_of
from evercgm.storage.database import load_queries
from evercgm.storage.schema.catalog import read_history, read_snapshot, reading
from evercgm.storage.schema.reach import reached
from evercgm.storage.schema.rights import excess_of
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.verify_data import check_data
from evercgm.storage.schema.verify_findings import CONNECTIONS, Check, Expect, Seen, made_strict
from evercgm.storage.schema.verify_history import check_history
from evercgm.storage.schema.verify_live import check_live
from evercgm.storage.schema.verify_policies import check_policies, check_security
from evercgm.storage.schema.verify_rights import check_login_roles, check_rights
from evercgm.storage.schema.verify_tables import check_tables

QUERIES = load_queries("schema/verify.sql")
_CATALOG = (
    "session",
    "api_roles",
    "claims_function",
    "api_privileges",
    "connection_columns",
    "person_columns",
    "owner_index",
    "secret_views",
    "silenced",
    "rules",
    "prisma_there",
)
# Roles belong to the whole server: before the migrations they say nothing of this database.
_GROUPS = ("group_forms", "group_members")


@dataclass(frozen=True, slots=True)
class Wish:
    """What to hold the database against.

    ``compat``: the grants of the first form are wanted. ``live``: also prove isolation by trying it, rolled back.
    ``strict``: warnings fail. ``key_ids``: of our key ring. ``service_role``: who DATABASE_URL logs in as, if known.
    """

    expect: Expect = "target"
    compat: bool = False
    live: bool = False
    strict: bool = False
    key_ids: Collection[str] = ()
    service_role: str | None = None


async def verify_at(dsn: str, setting: str, wish: Wish) -> list[Check]:
    """The checks of the database at ``dsn``. Raises SettingsError naming ``setting`` where it cannot be reached."""
    async with reached(dsn, setting) as connection:
        return await verify(connection, wish)


def role_of(dsn: str) -> str | None:
    """Who an address logs in as, where it says so."""
    try:
        role = parts_of(dsn, "DATABASE_URL").get("user")
    except SettingsError:
        return None
    return None if role is None else str(role)


async def verify(connection: AsyncConnection[Any], wish: Wish) -> list[Check]:
    """The checks in order of their ids; an unreadable thing is ``unknown``, never an error.

    Runs in a (sub)transaction that is read-only, but for the live proof, which is one that is rolled back.
    """
    async with reading(connection):
        await connection.execute("set transaction read only")
        seen = await _look(connection, wish)
        data = await check_data(connection, seen, wish.key_ids)
    checks = [
        *check_tables(seen),
        *check_security(seen, check_login_roles(seen)),
        *check_policies(seen),
        *check_rights(seen),
        *data,
        *check_history(seen),
        *(await check_live(connection) if wish.live else ()),
    ]
    checks = [_not_of_nothing(check, seen) for check in checks]
    return made_strict(checks) if wish.strict else checks


def _not_of_nothing(check: Check, seen: Seen) -> Check:
    """Nothing is well with a table that is not there."""
    missing = Key("table", CONNECTIONS) not in seen.entries
    if missing and check.status == "ok" and CONNECTIONS in check.object:
        return replace(check, status="unknown", found="the table is missing")
    return check


async def _look(connection: AsyncConnection[Any], wish: Wish) -> Seen:
    rows = {name: await _ask(connection, name) for name in _CATALOG}
    prisma = rows["prisma_there"]
    rows["prisma_history"] = await _ask(connection, "prisma_history") if prisma and prisma[0]["readable"] else []
    rows |= {name: await _ask(connection, name) if wish.expect == "target" else [] for name in _GROUPS}
    rows["service_roles"] = await _service_roles(connection, wish, rows["session"][0]["login"])
    return Seen(wish.expect, wish.compat, await _snapshot(connection), rows)


async def _snapshot(connection: AsyncConnection[Any]) -> Snapshot:
    """The shape; the history as cgm_worker where only that role may read it and this one may become it."""
    snapshot = await read_snapshot(connection)
    if snapshot.history_hidden:
        with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
            async with connection.transaction(force_rollback=True):
                await connection.execute("select set_config('role', 'cgm_worker', true)")
                history, hidden = await read_history(connection)
            return replace(snapshot, history=history, history_hidden=hidden)
    return snapshot


async def _ask(connection: AsyncConnection[Any], query: str) -> list[dict[str, Any]]:
    return await (await connection.cursor(row_factory=dict_row).execute(QUERIES[query].encode())).fetchall()


async def _service_roles(connection: AsyncConnection[Any], wish: Wish, login: str) -> list[dict[str, Any]]:
    """The group roles, and who may become them: role, may_log_in, excess, and whether it is the one that asks.

    Before the migrations only the role of DATABASE_URL is looked at.
    """
    rows = await _ask(connection, "service_roles") if wish.expect == "target" else []
    role = await _known(connection, wish.service_role or "")
    if role is not None and role not in [row["role"] for row in rows]:
        rows.append({"role": role, "may_log_in": True})
    return [{**row, "excess": await excess_of(connection, row["role"]), "is_us": row["role"] == login} for row in rows]


async def _known(connection: AsyncConnection[Any], role: str) -> str | None:
    """The role, if the server has it. Supabase's pooler adds the project to the name: role.project."""
    for name in dict.fromkeys([role, role.partition(".")[0]]):
        if await (await connection.execute(QUERIES["role_exists"], {"role": name})).fetchone() is not None:
            return name
    return None
