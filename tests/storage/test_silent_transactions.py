"""A transaction that says nothing for a while is ended by the server: its locks are not those of a dead machine."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from evercgm.storage.database import Connection, Database, open_database
from evercgm.storage.vault import Vault

SETTING = "select current_setting('idle_in_transaction_session_timeout')"


@pytest.fixture
async def db(database: Any) -> AsyncIterator[Database]:
    async with open_database(database.service_dsn, Vault(bytes(32)), largest=1) as opened:
        yield opened


async def told(conn: Connection) -> str:
    row = await (await conn.execute(SETTING)).fetchone()
    assert row is not None
    return str(row["current_setting"])


async def test_whoever_we_act_as_the_server_waits_for_fifteen_seconds_at_most(db: Database) -> None:
    async with db.as_worker() as conn:
        assert await told(conn) == "15s"
    async with db.as_person({"sub": "somebody"}) as conn:
        assert await told(conn) == "15s"
    async with db._pool.connection() as conn:
        assert await told(conn) == "0"


async def test_what_was_locked_in_a_silent_transaction_is_free_again(db: Database, database: Any) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("create table public.locked as select 1 as one")
        admin.execute("grant select, update on public.locked to cgm_worker")
        with pytest.raises(psycopg.Error):  # noqa: PT012 - the server ends it in the middle
            async with db.as_worker() as conn:
                await conn.execute("set local idle_in_transaction_session_timeout = '200ms'")
                await conn.execute("select from public.locked for update")
                admin.execute("update public.locked set one = 2")
                await conn.execute("select 1")
