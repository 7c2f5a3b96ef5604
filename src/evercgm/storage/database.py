"""The pool, and the two ways to act on it: as a person under row-level security, or as the worker."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from evercgm.storage.address import notices_silence
from evercgm.storage.vault import Vault

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]
Answer = TypeVar("Answer")
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

# The single old claim would win over the JSON (database facts, 4): it is cleared in every transaction. The driver reads
# times in one DateStyle only, whatever the server's is. A transaction that says nothing for a while is of a process
# that hangs or a machine that is gone: the server ends it, so that its locks hinder nobody who takes over.
_BEGIN = """
select set_config('request.jwt.claim.sub', '', true), set_config('request.jwt.claims', %(claims)s, true),
       set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, MDY', true),
       set_config('idle_in_transaction_session_timeout', '15s', true), set_config('role', %(role)s, true)
"""
_NAME = re.compile(r"^-- name: (\w+)", re.MULTILINE)


class Database:
    """A pool of connections of the service's login role, and the vault for what is sealed in it."""

    def __init__(self, pool: AsyncConnectionPool[Connection], vault: Vault):
        self._pool = pool
        self.vault = vault

    @asynccontextmanager
    async def as_person(self, claims: Mapping[str, Any]) -> AsyncIterator[Connection]:
        """A transaction as the person of these verified claims; the only way to run a person's query."""
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(_BEGIN, {"claims": json.dumps(dict(claims)), "role": "cgm_request"})
            yield conn

    @asynccontextmanager
    async def as_worker(self) -> AsyncIterator[Connection]:
        """A transaction as ``cgm_worker``; never called under api/."""
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(_BEGIN, {"claims": "", "role": "cgm_worker"})
            yield conn


async def surely(save: Callable[[], Awaitable[Answer]]) -> Answer:
    """What ``save`` gives. Of what cannot be had twice: a database that is away is tried again for half a minute."""
    for wait_s in SAVE_AGAIN_AFTER_S:
        try:
            return await save()
        except psycopg.OperationalError:
            await asyncio.sleep(wait_s)
    return await save()


async def become_worker(conn: Connection) -> None:
    """Go on as ``cgm_worker`` in a person's transaction, after ownership was proved in it."""
    await conn.execute("select set_config('role', 'cgm_worker', true)")


@asynccontextmanager
async def open_database(dsn: str, vault: Vault, *, largest: int = 10) -> AsyncIterator[Database]:
    """Open a pool for a DSN. No prepared statements, so that a transaction pooler may sit between.

    Raises SettingsError where the DSN cannot be read, and the driver's OperationalError where nobody answers.
    """
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=largest,
        open=False,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": dict_row,
            "application_name": "evercgm",
            **notices_silence(dsn, "DATABASE_URL"),
        },
    )
    await pool.open(wait=True, timeout=20)
    try:
        yield Database(pool, vault)
    finally:
        await pool.close()


def load_queries(module_file: str) -> dict[str, str]:
    """The named queries of a .sql file of this package."""
    return split_queries(resources.files("evercgm.storage").joinpath(module_file).read_text())


def split_queries(text: str) -> dict[str, str]:
    """Named queries by name: ``-- name: x`` opens one."""
    parts = _NAME.split(text)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))
