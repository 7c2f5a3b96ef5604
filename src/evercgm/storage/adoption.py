"""Connections that the host app made: lists them with their tokens as stored, and makes one ours."""

from collections.abc import AsyncIterator

from evercgm.core.tokens import Secret
from evercgm.storage import connections
from evercgm.storage.database import Connection, Database, Row, load_queries
from evercgm.storage.vault import Vault

QUERIES = load_queries("adoption.sql")
PAGE = 500


async def foreign_connections(db: Database) -> AsyncIterator[Row]:
    """All connections without ``sync_state``: id, provider, both tokens as stored, region of the metadata.

    Read in pages, each in its own transaction; what becomes ours meanwhile may be missing.
    """
    after = ""
    while True:
        async with db.as_worker() as conn:
            cursor = await conn.execute(QUERIES["foreign_connections"], {"after": after, "most": PAGE})
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
    conn: Connection, vault: Vault, connection_id: str, *, region: str, access: Secret, refresh: Secret
) -> None:
    """Seal both tokens for their places and begin the sync's memory of a connection that is locked; it is due now."""
    values = {
        "id": connection_id,
        "region": region,
        "access": vault.seal(access, connections.access_place(connection_id)),
        "refresh": vault.seal(refresh, connections.refresh_place(connection_id)),
    }
    await conn.execute(QUERIES["take_over"], values)
    await conn.execute(QUERIES["begin_state"], values)
