"""Let a connection rest, and wake it again; its tokens stay sealed where they are."""

from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.connection import NEEDS_SIGN_IN
from evercgm.core.errors import NotYours, ReconnectNeeded
from evercgm.logs import get_logger
from evercgm.storage import connections, runs
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, Row, become_worker

log = get_logger(__name__)
# What a vendor's final no leaves behind, also where it came while the connection was paused.
ENDED = NEEDS_SIGN_IN


async def pause(db: Database, caller: Caller, connection_id: str) -> None:
    """No sync starts until it is resumed. A running one ends in its own time and does not wake it; a queued one ends.

    Pausing twice is fine. Raises NotYours; ReconnectNeeded where only a reconnect can mend it.
    """
    async with db.as_person(caller.claims) as conn:
        row = await _own(conn, connection_id)
        if row["status"] == "disconnected":
            return
        if row["status"] == "expired":
            raise ReconnectNeeded
        await connections.pause(conn, connection_id, row["person_id"])
        waiting = await runs.open_run(conn, connection_id)
        if waiting is not None and waiting.state == "queued":
            await runs.finish(conn, waiting, "cancelled")
        await record(conn, audit.owner(caller), "paused", row["person_id"], connection_id=connection_id)
    log.info("paused", connection_id=connection_id)


async def resume(db: Database, caller: Caller, connection_id: str) -> None:
    """Due at once; trouble that it had before is remembered. One that is not paused is left alone.

    Raises NotYours; ReconnectNeeded: no tokens are stored, or the vendor has ended our access.
    """
    async with db.as_person(caller.claims) as conn:
        row = await _own(conn, connection_id)
        if row["status"] in ("connected", "error"):
            return
        if row["status"] == "expired" or row["reason"] in ENDED or not row["has_tokens"]:
            raise ReconnectNeeded
        await connections.resume(conn, connection_id, row["person_id"])
        await record(conn, audit.owner(caller), "resumed", row["person_id"], connection_id=connection_id)
    log.info("resumed", connection_id=connection_id)


async def _own(conn: Connection, connection_id: str) -> Row:
    """Proven as the person, then locked and read as the worker."""
    owned = await connections.own_connections(conn, person_id=None, connection_id=connection_id)
    if not owned:
        raise NotYours("connection", connection_id)
    await become_worker(conn)
    row = await connections.lock_at_rest(conn, connection_id, owned[0]["person_id"])
    if row is None:
        raise NotYours("connection", connection_id)
    return row
