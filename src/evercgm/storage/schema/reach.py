"""Opens the database for a command, and says in words why not; a DSN, a host or a password is never repeated."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.core.errors import EvercgmError, SettingsError
from evercgm.storage.address import PATIENCE_S, connect
from evercgm.storage.database import load_queries
from evercgm.storage.schema.told import as_line, is_ours, may_be_told, place_of

QUERIES = load_queries("schema/reach.sql")
_ROUNDS = 5
# The driver reads times in this style only, and our SQL means what it says in these ways only, whatever the role's are.
_WAYS = "set datestyle = 'ISO, MDY'; set standard_conforming_strings = on; set quote_all_identifiers = off"


class DatabaseFailed(EvercgmError):
    """The database refused a statement, or went away meanwhile; what was not committed did not happen."""


@asynccontextmanager
async def reached(dsn: str, setting: str) -> AsyncIterator[AsyncConnection[Any]]:
    """An autocommit connection. Raises SettingsError naming ``setting`` where there is none to be had.

    A failure of the database that is not caught inside becomes DatabaseFailed.
    """
    options = {"autocommit": True, "prepare_threshold": None, "application_name": "evercgm"}
    async with await connect(dsn, setting, **options) as connection:
        try:
            await connection.execute(_WAYS)
            yield connection
        except psycopg.Error as failure:
            raise DatabaseFailed(f"{setting}: {refusal(failure)}") from None


def refusal(failure: psycopg.Error) -> str:
    """The server's own sentence; its details may hold rows, the driver's words hosts: neither is repeated.

    Nor are the words of a function of the host app: the place and the code instead.
    """
    said = failure.diag
    if isinstance(failure, psycopg.errors.LockNotAvailable) and not is_ours(said):
        return "another session uses these tables (a migration, perhaps): try again when it has ended"
    if said.message_primary and may_be_told(said):
        return as_line(said.message_primary)
    if said.message_primary:
        return (
            f"{place_of(said)} refused (SQLSTATE {said.sqlstate}, {type(failure).__name__}): its words may hold rows, "
            "and stand in the server's log"
        )
    if isinstance(failure, psycopg.OperationalError):
        return "the connection to the database was lost"
    return f"the database could not be used ({type(failure).__name__})"


@asynccontextmanager
async def reached_to_migrate(dsn: str, setting: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that may change the shape. Raises SettingsError where it may not, or a pooler stands between."""
    async with reached(dsn, setting) as connection:
        row = await (await connection.cursor(row_factory=dict_row).execute(QUERIES["rights"].encode())).fetchone()
        why_not = "the database does not know our role" if row is None else _what_forbids(row)
        if why_not is None and await is_pooled_by_transaction(connection, dsn):
            why_not = (
                "a transaction pooler stands between (Supabase: port 6543). Migrations need the direct connection "
                "or the session pooler (port 5432)"
            )
        if why_not is not None:
            raise SettingsError(f"{setting}: {why_not}")
        yield connection


def _what_forbids(rights: Mapping[str, Any]) -> str | None:
    if rights["read_only"]:
        return "this database is read-only for us (a replica, or set so): name the primary"
    if rights["missing"]:
        return f"role {rights['role']} may not migrate: {rights['missing']}"
    if rights["filtered"]:
        return (
            f"row-level security hides rows of {rights['filtered']} from role {rights['role']}: "
            "a migration would not see them. Use the owner, without FORCE ROW LEVEL SECURITY"
        )
    return None


async def refuse_transaction_pooler(dsn: str, setting: str) -> None:
    """Raises SettingsError where LISTEN, which the worker is woken by, would not pass; and where nobody answers."""
    async with reached(dsn, setting) as connection:
        if await is_pooled_by_transaction(connection, dsn):
            raise SettingsError(
                f"{setting}: a transaction pooler stands between (Supabase: port 6543), and LISTEN, which wakes the "
                "worker, does not pass it. Name the direct connection or the session pooler (port 5432) in "
                "WORKER_DATABASE_URL"
            )


async def is_pooled_by_transaction(connection: AsyncConnection[Any], dsn: str) -> bool:
    """Whether our server process changes between transactions, or is lent to a second connection meanwhile.

    A pooler gives out a process id of its own; where it is the server's, nobody stands between. A second connection
    that must wait for a server process is a session pooler's with none to spare: it holds ours back for us.
    """
    mine = await _server_process(connection)
    if mine == connection.info.backend_pid:
        return False
    try:
        async with asyncio.timeout(PATIENCE_S), reached(dsn, "the second connection") as other:
            for _ in range(_ROUNDS):
                if await _server_process(other) == mine or await _server_process(connection) != mine:
                    return True
    except TimeoutError:
        return False
    return False


async def _server_process(connection: AsyncConnection[Any]) -> int:
    row = await (await connection.execute("select pg_backend_pid()")).fetchone()
    return int(row[0]) if row else 0
