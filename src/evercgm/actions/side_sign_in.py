"""Signs in anew by another way in: a kept password is sent once, however many syncs meet the ended session at once."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from evercgm.actions.access import LONGEST_WAIT_S, WAIT_S, to_the_end
from evercgm.core.connection import Status
from evercgm.core.errors import EvercgmError, ReconnectNeeded, SealBroken, SignInLocked, VendorTryLater
from evercgm.core.verdict import PASSING, Verdict
from evercgm.logs import get_logger
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections, routes
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database
from evercgm.storage.routes import SideRoute

log = get_logger(__name__)
LOCKED = "sign_in_locked"


class SettledElsewhereError(Exception):
    """What is noted stands, and no password is sent.

    Another sync has failed there meanwhile, or the person has signed in anew, or left; or the vendor has locked the
    sign-in, and its time is not over. ``failure``: what was met there, and ``verdict``: what it means, as it is noted;
    ``next_at`` (aware UTC): when the way is due again.
    """

    def __init__(
        self,
        failure: EvercgmError | None = None,
        verdict: Verdict | None = None,
        next_at: datetime | None = None,
    ):
        super().__init__("settled elsewhere")
        self.failure = failure
        self.verdict = verdict
        self.next_at = next_at


class SideSignIn:
    """New sessions of one way in during one sync.

    Two syncs of one connection are under way where a worker was silent for so long that its job went to another one,
    or a command took over a run of more than ten minutes. The lease is that of the connection's own tokens: both are
    held for one call each, and in one sync this one comes first and is let go before the other is taken.
    """

    def __init__(self, db: Database, vendors: Vendors, loaded: Loaded, clock: Callable[[], datetime]):
        self._db = db
        self._vendors = vendors
        self._loaded = loaded
        self._clock = clock
        self._holds = False

    async def renew(self, side: SideRoute) -> SideRoute:
        """The way with another session than ``side`` has: by a sign-in of ours, or of one that was quicker.

        Where ours fails, nobody else tries until ``let_go``: only then has it been noted. Raises SettledElsewhereError;
        ReconnectNeeded(password_needed) where none is kept; VendorTryLater, and what the provider's ``refresh`` raises.
        """
        if not side.tokens.refresh:
            raise ReconnectNeeded("password_needed")
        for _ in range(int(LONGEST_WAIT_S / WAIT_S)):
            held = await self._take()
            # Read after the lease was had: whoever had it before has stored or noted what came of it.
            found = await self._as_it_stands(side)
            if found.tokens.access != side.tokens.access:
                await self.let_go()
                return found
            if held:
                return await to_the_end(self._sign_in(found))
            await asyncio.sleep(WAIT_S)
        raise VendorTryLater("another process holds the sign-in of this connection")

    async def let_go(self) -> None:
        """Others may sign in from now on."""
        if self._holds:
            self._holds = False
            await connections.drop_refresh_lease(self._db, self._loaded)

    async def _take(self) -> bool:
        self._holds = await connections.take_refresh_lease(self._db, self._loaded)
        if not self._holds:
            # Its own tokens may be others by now, and the lease goes with them.
            self._loaded = await connections.load_for_sync(self._db, self._loaded.id) or self._loaded
        return self._holds

    async def _as_it_stands(self, side: SideRoute) -> SideRoute:
        async with self._db.as_worker() as conn:
            ways = await routes.of_connection(conn, self._db.vault, side.connection_id)
        found = next((way for way in ways if way.id == side.id), None)
        if found is None:
            raise SettledElsewhereError
        if found.connected_at != side.connected_at:
            raise SettledElsewhereError(next_at=found.next_sync_at)
        if found.seal_broken:
            raise SealBroken
        if found.reason is not None and _trouble(found) != _trouble(side):
            raise _as_noted(found, self._clock())
        return found

    async def _sign_in(self, side: SideRoute) -> SideRoute:
        app = self._vendors.app(side.route, side.region)
        http = self._vendors.client(side.route, side.region)
        tokens = await self._vendors.providers[side.route].refresh(http, app, side.tokens.refresh)
        await routes.save_session(self._db, side, tokens)
        await self.let_go()
        log.info("route_session_renewed", connection_id=side.connection_id, route=side.route)
        return replace(side, tokens=tokens)


def _trouble(side: SideRoute) -> tuple[str | None, int, datetime | None]:
    return side.reason, side.failure_count, side.next_sync_at


def rest_while_locked(side: SideRoute, now: datetime) -> None:
    """Raises SettledElsewhereError while the sign-in is locked, whoever presses: tries are what locks an account.

    Not even its old session is tried: another failure of it would be noted in place of the lock.
    """
    if side.reason == LOCKED and side.next_sync_at is not None and not side.due:
        raise _as_noted(side, now)


def _as_noted(side: SideRoute, now: datetime) -> SettledElsewhereError:
    reason, next_at = side.reason or "reconnect_needed", side.next_sync_at
    status: Status = "connected" if reason in PASSING else "error"
    verdict = Verdict("expired" if next_at is None else status, reason, next_at, side.failure_count)
    return SettledElsewhereError(_failure(side, now), verdict, next_at)


def _failure(side: SideRoute, now: datetime) -> EvercgmError:
    """What was met there, as far as it is noted."""
    if side.next_sync_at is None:
        return ReconnectNeeded(side.reason or "reconnect_needed")
    wait_s = max(1, math.ceil((side.next_sync_at - now).total_seconds()))
    if side.reason == LOCKED:
        return SignInLocked(wait_s)
    return VendorTryLater("another sync could not read it just now", wait_s)
