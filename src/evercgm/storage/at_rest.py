"""Connections at rest: how they are put there and woken, and whose refresh token is used meanwhile."""

from datetime import timedelta

from evercgm.core.connection import message_for
from evercgm.storage.database import Connection, Row, load_queries

QUERIES = load_queries("at_rest.sql")


async def lock_at_rest(conn: Connection, connection_id: str, person_id: str) -> Row | None:
    """As the worker: the locked row's person_id, provider, status, reason, has_tokens, has_own_login, has_time.

    None: gone.
    """
    values = {"id": connection_id, "person_id": person_id}
    return await (await conn.execute(QUERIES["lock_at_rest"], values)).fetchone()


async def pause(
    conn: Connection,
    connection_id: str,
    person_id: str,
    ended: str | None = None,
    keep_alive: timedelta | None = None,
) -> None:
    """At rest until it is resumed; the tokens stay sealed.

    ``ended``: the reason of an expired one, which is kept. ``keep_alive``: how long its refresh token may go unused.
    """
    values = {"id": connection_id, "person_id": person_id, "ended": ended, "keep_alive": keep_alive}
    await conn.execute(QUERIES["pause"], values)


async def resume(conn: Connection, connection_id: str, person_id: str, ended: str | None = None) -> None:
    """Out of its rest, and due now; or, for the reason ``ended``, expired beside other ways in that go on."""
    values = {"id": connection_id, "person_id": person_id, "ended": message_for(ended)}
    await conn.execute(QUERIES["resume"], values)


async def kept_alive(conn: Connection, connection_id: str, again_in: timedelta | None) -> None:
    """Its refresh token is to be used again so much later, None: never; nothing where it has been resumed meanwhile."""
    await conn.execute(QUERIES["kept_alive"], {"id": connection_id, "again_in": again_in})
