"""Forget the tokens of a connection, then the connection; the readings stay."""

from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.errors import NotYours
from evercgm.logs import get_logger
from evercgm.storage import connections, routes
from evercgm.storage.audit import record
from evercgm.storage.database import Database, become_worker

log = get_logger(__name__)


async def disconnect(db: Database, caller: Caller, connection_id: str) -> int:
    """Returns how many readings are kept. Raises NotYours.

    The tokens are blanked and committed first, so that nothing sealed outlives a failure in between;
    a sync that runs meanwhile finds the row gone and ends.
    """
    async with db.as_person(caller.claims) as conn:
        owned = await connections.own_connection(conn, connection_id)
        if owned is None:
            raise NotYours("connection", connection_id)
        await become_worker(conn)
        await connections.blank_tokens(conn, connection_id, owned["person_id"])
    async with db.as_worker() as conn:
        kept = await connections.delete(conn, connection_id, owned["person_id"])
        if kept is None:
            # Somebody else was quicker with the same wish, or has connected anew meanwhile; both are written down.
            return 0
        what = {"connection_id": connection_id, "provider": owned["provider"], "readings_kept": kept}
        await record(conn, audit.owner(caller), "disconnected", owned["person_id"], **what)
    log.info("disconnected", connection_id=connection_id, readings_kept=kept)
    return kept


async def remove_route(db: Database, caller: Caller, connection_id: str, route: str) -> None:
    """Forget another way in; one that is not there is forgotten already. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        owned = await connections.own_connection(conn, connection_id)
        if owned is None:
            raise NotYours("connection", connection_id)
        await become_worker(conn)
        if await routes.forget(conn, connection_id, route):
            what = {"connection_id": connection_id, "route": route}
            await record(conn, audit.owner(caller), "route_removed", owned["person_id"], **what)
