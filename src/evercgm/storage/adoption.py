"""Connections that the host app made: lists them with their tokens as stored, and makes one ours."""

import json
from collections.abc import AsyncIterator, Mapping

from evercgm.core.tokens import Secret
from evercgm.storage import connections
from evercgm.storage.database import Connection, Database, Row, load_queries
from evercgm.storage.vault import Vault

QUERIES = load_queries("adoption.sql")
PAGE = 500


def foreign_connections(db: Database) -> AsyncIterator[Row]:
    """All connections without ``sync_state``: id, person_id, provider, both tokens as stored, region of the metadata.

    Read in pages, each in its own transaction; what becomes ours meanwhile may be missing.
    """
    return _pages(db, "foreign_connections")


def quarantined(db: Database) -> AsyncIterator[Row]:
    """All connections that were set aside: id and both tokens as stored; read like ``foreign_connections``."""
    return _pages(db, "quarantined")


async def _pages(db: Database, query: str) -> AsyncIterator[Row]:
    after = ""
    while True:
        async with db.as_worker() as conn:
            cursor = await conn.execute(QUERIES[query], {"after": after, "most": PAGE})
            page = await cursor.fetchall()
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        after = page[-1]["id"]


async def lock_foreign(conn: Connection, connection_id: str) -> Row | None:
    """One of them, locked until the transaction ends; None where it is gone or ours by now."""
    if not await connections.lock(conn, connection_id):
        return None
    return await (await conn.execute(QUERIES["foreign_connection"], {"id": connection_id})).fetchone()


async def take_over(
    conn: Connection,
    vault: Vault,
    connection_id: str,
    *,
    region: str,
    pair: tuple[Secret, Secret],
    renew: bool,
    doubtful: bool,
) -> None:
    """Seal both tokens for their places and begin the sync's memory of a connection that is locked; it is due now.

    ``pair``: access and refresh token. ``renew``: the first call refreshes, as if the access token had ended.
    ``doubtful``: where the vendor refuses the pair, our region may be wrong: the operator is called, nobody is expired.
    """
    access, refresh = pair
    values = {
        "id": connection_id,
        "region": region,
        "renew": renew,
        "doubtful": doubtful,
        "access": vault.seal(access, connections.access_place(connection_id)),
        "refresh": vault.seal(refresh, connections.refresh_place(connection_id)),
    }
    await conn.execute(QUERIES["take_over"], values)
    await conn.execute(QUERIES["begin_state"], values)


async def lock_quarantined(conn: Connection, connection_id: str) -> Row | None:
    """One that was set aside, locked: id, person_id, both tokens as stored; None where it is gone by now."""
    return await (await conn.execute(QUERIES["quarantined_one"], {"id": connection_id})).fetchone()


async def reseal_quarantined(conn: Connection, connection_id: str, tokens: Mapping[str, str]) -> None:
    """Replace tokens of one that is locked, by column name; each sealed for its place in ``cgm_connections``."""
    values = {"id": connection_id, "tokens": json.dumps(dict(tokens))}
    await conn.execute(QUERIES["reseal_quarantined"], values)


async def renew_at_once(db: Database, provider: str) -> None:
    """Those taken over before and never renewed at the vendor since: due, and their next call refreshes."""
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["renew_at_once"], {"provider": provider})


async def never_renewed(db: Database) -> dict[str, int]:
    """How many were taken over and never renewed at the vendor since, by status; ``refused``: the vendor said no."""
    async with db.as_worker() as conn:
        rows = await (await conn.execute(QUERIES["never_renewed"])).fetchall()
    return {row["status"]: row["connections"] for row in rows}
