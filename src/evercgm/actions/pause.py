"""Let a connection rest, all its ways in at once, and wake it again; its tokens stay sealed where they are."""

from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.connection import NEEDS_SIGN_IN
from evercgm.core.errors import NotYours, ReconnectNeeded
from evercgm.logs import get_logger
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import at_rest, connections, routes, runs
from evercgm.storage.audit import record
from evercgm.storage.database import Connection, Database, Row, become_worker

log = get_logger(__name__)
# What a vendor's final no leaves behind, also where it came while the connection was paused.
ENDED = NEEDS_SIGN_IN


async def pause(db: Database, vendors: Vendors, caller: Caller, connection_id: str) -> None:
    """No sync starts until it is resumed. A running one ends in its own time and does not wake it; a queued one ends.

    Tokens that their vendor would end without use are renewed meanwhile.

    Pausing twice is fine. Raises NotYours; ReconnectNeeded where only a reconnect can mend it and no other way goes on.
    """
    async with db.as_person(caller.claims) as conn:
        row = await _own(conn, connection_id)
        if row["status"] == "disconnected":
            return
        ended = None
        if row["status"] == "expired":
            if not await _goes_on(conn, connection_id):
                raise ReconnectNeeded
            ended = row["reason"] if row["reason"] in ENDED else "reconnect_needed"
        provider = vendors.providers.get(row["provider"])
        unused = provider.keep_alive if provider and ended is None else None
        await at_rest.pause(conn, connection_id, row["person_id"], ended, unused)
        waiting = await runs.open_run(conn, connection_id)
        if waiting is not None and waiting.state == "queued":
            await runs.finish(conn, waiting, "cancelled")
        await record(conn, audit.owner(caller), "paused", row["person_id"], connection_id=connection_id)
    log.info("paused", connection_id=connection_id)


async def resume(db: Database, caller: Caller, connection_id: str) -> None:
    """Due at once; trouble that it had before is remembered. One that is not paused is left alone.

    Where the vendor has ended our access, and another way in goes on, it is expired beside that, as before the pause.
    Raises NotYours; ReconnectNeeded: no tokens, or the vendor has ended our access, and nothing else goes on.
    """
    async with db.as_person(caller.claims) as conn:
        row = await _own(conn, connection_id)
        if row["status"] in ("connected", "error"):
            return
        ended = _has_ended(row)
        if row["status"] == "expired" or ended or not row["has_tokens"]:
            if not await _goes_on(conn, connection_id):
                raise ReconnectNeeded
            if row["status"] == "expired":
                return
        waits = row["reason"] if ended and row["has_own_login"] else None
        await at_rest.resume(conn, connection_id, row["person_id"], waits)
        await record(conn, audit.owner(caller), "resumed", row["person_id"], connection_id=connection_id)
    log.info("resumed", connection_id=connection_id)


def _has_ended(row: Row) -> bool:
    """A lock that waits for no time was met again after it: the person is asked, the password is not sent anew."""
    return row["reason"] in ENDED or (row["reason"] == "sign_in_locked" and not row["has_time"])


async def _goes_on(conn: Connection, connection_id: str) -> bool:
    """Whether another way in of it works, or would, and needs no sign-in."""
    return bool(await routes.living(conn, [connection_id]))


async def _own(conn: Connection, connection_id: str) -> Row:
    """Proven as the person, then locked and read as the worker."""
    owned = await connections.own_connections(conn, person_id=None, connection_id=connection_id)
    if not owned:
        raise NotYours("connection", connection_id)
    await become_worker(conn)
    # A statement of its own: what is read beside the row is then as it stands once the lock is had.
    await connections.lock(conn, connection_id)
    row = await at_rest.lock_at_rest(conn, connection_id, owned[0]["person_id"])
    if row is None:
        raise NotYours("connection", connection_id)
    return row
