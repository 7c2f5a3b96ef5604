"""Forget the tokens of a connection, then the connection, and have the vendor forget it; the readings stay."""

import asyncio
from dataclasses import dataclass

from evercgm.core import audit
from evercgm.core.caller import Caller
from evercgm.core.errors import EvercgmError, NotYours, SealBroken
from evercgm.logs import get_logger
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections, routes, views
from evercgm.storage.audit import record
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Connection, Database, become_worker
from evercgm.storage.database_errors import classify

log = get_logger(__name__)
# The person waits, and all that is ours is forgotten already.
REVOKED_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Disconnected:
    """How many readings are kept; whether the vendor says that it forgot the access, too."""

    readings_kept: int
    vendor_revoked: bool = False


async def disconnect(db: Database, vendors: Vendors, caller: Caller, connection_id: str) -> Disconnected:
    """Raises NotYours.

    The tokens are blanked and committed first, so that nothing sealed outlives a failure in between;
    a sync that runs meanwhile finds the row gone and ends. The vendor is asked once, last.
    """
    async with db.as_person(caller.claims) as conn:
        owned = await connections.own_connection(conn, connection_id)
        if owned is None:
            raise NotYours("connection", connection_id)
        await become_worker(conn)
        before = await _before(conn, db, connection_id)
        await connections.blank_tokens(conn, connection_id, owned["person_id"])
    async with db.as_worker() as conn:
        kept = await connections.delete(conn, connection_id, owned["person_id"])
        if kept is None:
            # Somebody else was quicker with the same wish, or has connected anew meanwhile; both are written down.
            return Disconnected(0)
        what = {"connection_id": connection_id, "provider": owned["provider"], "readings_kept": kept}
        await record(conn, audit.owner(caller), "disconnected", owned["person_id"], **what)
    log.info("disconnected", connection_id=connection_id, readings_kept=kept)
    return Disconnected(kept, before is not None and await _revoke(db, vendors, caller, before))


async def _before(conn: Connection, db: Database, connection_id: str) -> Loaded | None:
    """The connection while it has its tokens; None where they cannot be opened: that keeps nobody from leaving."""
    try:
        return await connections.load(conn, db.vault, connection_id)
    except SealBroken:
        return None


async def _revoke(db: Database, vendors: Vendors, caller: Caller, before: Loaded) -> bool:
    """Whether the vendor ended what the refresh token stood for. A failure is noted and changes nothing.

    Not asked for where the owner has another connection there: it may be of the same login (a follower of two), and
    a vendor may end all that one app was given for it (Auth0, "deletes grant"; whether CareLink does is not known).
    """
    provider = vendors.providers.get(before.provider)
    if provider is None or provider.revoke is None or not before.tokens.refresh:
        return False
    place = (provider.route, before.region)
    try:
        if any(one.provider == before.provider for one in await views.connections(db, caller, None)):
            return False
        with asked_by("person"):
            async with asyncio.timeout(REVOKED_WITHIN_S):
                await provider.revoke(vendors.client(*place), vendors.app(*place), before.tokens.refresh)
    except Exception as failure:
        # Also where our own database cannot count the call: the connection is gone already.
        if not isinstance(failure, EvercgmError | TimeoutError) and classify(failure) is None:
            raise
        log.warning("revoke_failed", connection_id=before.id, provider=provider.route, error=type(failure).__name__)
        return False
    return True


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
