"""Use the refresh token of a connection at rest, where its vendor ends what nobody uses for some days."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from evercgm.actions.access import Access, ConnectionGoneError
from evercgm.actions.alarm import REASON, call_operator
from evercgm.core.connection import NEEDS_SIGN_IN
from evercgm.core.errors import CallsHeldBack, EvercgmError, GrantRefused, OperatorMustAct, ReconnectNeeded
from evercgm.core.verdict import SLOW_RETRY
from evercgm.logs import get_logger
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import at_rest, connections
from evercgm.storage.database import Database

log = get_logger(__name__)


async def keep_alive(
    db: Database, vendors: Vendors, connection_id: str, clock: Callable[[], datetime] = utc_now
) -> bool:
    """Have the tokens of a paused connection renewed, if it is time; whether they were. Nothing is read.

    A failure changes nothing of the connection: it is tried again within the hour, after a refusal at the next time.
    What lasts is judged, and told, when the person resumes. Raises SealBroken.
    """
    loaded = await connections.load_for_sync(db, connection_id)
    if loaded is None or loaded.status != "disconnected" or not loaded.keep_alive_due:
        return False
    provider = vendors.providers.get(loaded.provider)
    living = bool(loaded.tokens.refresh) and loaded.reason not in NEEDS_SIGN_IN
    usual = provider.keep_alive if provider and living else None
    if provider is None or usual is None:
        await _again(db, connection_id, None)
        return False
    try:
        await Access(db, vendors, provider.route, loaded, clock).renew()
    except ConnectionGoneError:
        return False
    except EvercgmError as failure:
        lasts = isinstance(failure, GrantRefused | ReconnectNeeded)
        await _again(db, connection_id, usual if lasts else SLOW_RETRY)
        if isinstance(failure, OperatorMustAct):
            async with db.as_worker() as conn:
                await call_operator(conn, loaded, REASON, failure)
        if not isinstance(failure, CallsHeldBack):
            log.warning("keep_alive_failed", connection_id=connection_id, error=type(failure).__name__)
        return False
    await _again(db, connection_id, usual)
    return True


async def _again(db: Database, connection_id: str, wait: timedelta | None) -> None:
    """A little earlier than ``wait``, each at another time: what came together after an outage spreads again."""
    async with db.as_worker() as conn:
        await at_rest.kept_alive(conn, connection_id, wait * random.uniform(0.8, 1) if wait else None)  # noqa: S311
