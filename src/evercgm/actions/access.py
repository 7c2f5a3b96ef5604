"""The right to call a vendor for one connection: a token that is fresh, refreshed by one process at a time."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from evercgm.core.counts import REFRESHES
from evercgm.core.errors import (
    CallsHeldBack,
    EvercgmError,
    GrantRefused,
    ReconnectNeeded,
    SessionRefused,
    SignInLocked,
    VendorDenied,
    VendorTryLater,
)
from evercgm.core.tokens import Secret, Tokens, is_due, signed_in_lately
from evercgm.logs import get_logger
from evercgm.provider_kit.clock import utc_now
from evercgm.provider_kit.contract import Password
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database

log = get_logger(__name__)
Answer = TypeVar("Answer")
# While another process refreshes, look again this often, and give up after its lease.
WAIT_S = 0.2
LONGEST_WAIT_S = connections.REFRESH_LEASE_S


class Access:
    """Holds the newest known tokens of one connection during one sync."""

    def __init__(
        self,
        db: Database,
        vendors: Vendors,
        route: str,
        loaded: Loaded,
        clock: Callable[[], datetime] = utc_now,
    ):
        self._db = db
        self._vendors = vendors
        self._route = route
        self._clock = clock
        self.loaded = loaded
        self.refresh_failed = False

    async def call(self, use: Callable[[Secret], Awaitable[Answer]]) -> Answer:
        """Call the vendor with a fresh access token; after a 401 refresh once and repeat once.

        Where a refresh is a sign-in by a password, there may be none now, or no password: then a session is used to its
        very end, and what stands against the sign-in is raised where it is refused before. While the vendor has locked
        the account nothing is sent at all.

        Raises what ``use`` raises, and GrantRefused, ReconnectNeeded, OperatorMustAct, VendorError.
        """
        rests = self._sign_in_rests()
        if isinstance(rests, SignInLocked):
            raise rests
        if is_due(self.loaded.tokens, self._clock()) and rests is None:
            await self._refresh_or_mark()
        try:
            return await self._use(use)
        except VendorDenied as denied:
            if not denied.expired_token:
                raise
        rests = self._sign_in_rests()
        if rests is not None:
            raise rests
        await self._refresh_or_mark()
        return await self._use(use)

    async def renew(self) -> None:
        """New tokens, whether or not the present ones would do; at once stored. Raises what ``call`` does."""
        await self._refresh_or_mark()

    def _sign_in_rests(self) -> EvercgmError | None:
        """What stands against another sign-in now, where only that would help; None: nothing, or it is long needed.

        A lock lasts to the connection's stored time; after a sign-in there is none for four hours; and without a
        password none is possible.
        """
        tokens, now = self.loaded.tokens, self._clock()
        if not self._by_password:
            return None
        if self.loaded.reason == "sign_in_locked" and self.loaded.next_sync_at and now < self.loaded.next_sync_at:
            return SignInLocked(math.ceil((self.loaded.next_sync_at - now).total_seconds()), sent=False)
        lives = bool(tokens.access) and now < tokens.expires_at
        if not tokens.refresh:
            return SessionRefused("the vendor refuses a session before its end") if lives else None
        if signed_in_lately(tokens, now):
            return VendorTryLater("the vendor refuses a session that it gave lately")
        return None

    @property
    def _by_password(self) -> bool:
        return isinstance(self._vendors.providers[self._route].login, Password)

    async def _refresh_or_mark(self) -> None:
        """Whatever ends the sync here is told as a failed refresh."""
        self.refresh_failed = True
        await self._refresh()
        self.refresh_failed = False

    async def _use(self, use: Callable[[Secret], Awaitable[Answer]]) -> Answer:
        try:
            answer = await use(self.loaded.tokens.access)
        except VendorDenied as denied:
            if not denied.expired_token:
                await self._token_has_worked()
            raise
        await self._token_has_worked()
        return answer

    async def _token_has_worked(self) -> None:
        """From now on the previous refresh token is only a used one: never to be shown to the vendor again."""
        if self.loaded.previous_kept:
            await connections.forget_previous_token(self._db, self.loaded)
            self.loaded = replace(self.loaded, previous_kept=False)

    async def _refresh(self) -> None:
        """New tokens from the vendor, or those that another process stored meanwhile."""
        if not self.loaded.tokens.refresh:
            raise ReconnectNeeded("password_needed" if self._by_password else "no_tokens")
        seen = self.loaded.generation
        for _ in range(int(LONGEST_WAIT_S / WAIT_S)):
            if await connections.take_refresh_lease(self._db, self.loaded):
                await to_the_end(self._exchange())
                return
            await self._reload()
            if self.loaded.generation != seen:
                return
            await asyncio.sleep(WAIT_S)
        raise VendorTryLater("another process holds the refresh of this connection")

    async def _exchange(self) -> None:
        """Refresh under the lease, and commit the new pair before anything uses it."""
        loaded = self.loaded
        used: Secret | None = loaded.tokens.refresh
        tokens = await self._ask(loaded.tokens.refresh)
        if tokens is None:
            used, tokens = await self._ask_with_the_previous()
        if tokens is None or used is None:
            await self._judge_refusal()
            return
        if await connections.save_refreshed(self._db, loaded, tokens, used):
            log.info("token_refreshed", connection_id=loaded.id, generation=loaded.generation + 1)
        await self._reload()

    async def _ask_with_the_previous(self) -> tuple[Secret | None, Tokens | None]:
        """A refused token gives way, once, to the one before it: kept until the new access token has worked.

        Once only: a vendor that ends a whole family of tokens on reuse must not be provoked at every rung.
        """
        previous = await connections.previous_refresh_token(self._db, self.loaded)
        if previous is None:
            return None, None
        tokens = await self._ask(previous)
        if tokens is None:
            await connections.forget_previous_token(self._db, self.loaded)
        return previous, tokens

    async def _ask(self, refresh_token: Secret) -> Tokens | None:
        """What the vendor gives for this refresh token; None where it refuses it.

        Where its answer is lost, the lease goes and the tokens stay: the next attempt uses them once more.
        """
        provider = self._vendors.providers[self._route]
        try:
            app = self._vendors.app(self._route, self.loaded.region)
            http = self._vendors.client(self._route, self.loaded.region)
            tokens = await provider.refresh(http, app, refresh_token)
        except GrantRefused:
            self._count_refresh("refused")
            return None
        except BaseException as failure:
            if not isinstance(failure, CallsHeldBack):
                self._count_refresh("failed")
            await connections.drop_refresh_lease(self._db, self.loaded)
            raise
        self._count_refresh("renewed")
        return tokens

    def _count_refresh(self, result: str) -> None:
        self._vendors.counts.add(REFRESHES, self._route, self.loaded.region, result)

    async def _judge_refusal(self) -> None:
        """A refused refresh counts only if the tokens are still those we used."""
        seen = self.loaded
        await connections.drop_refresh_lease(self._db, seen)
        await self._reload()
        if self.loaded.generation == seen.generation:
            raise GrantRefused("the refresh token was refused")

    async def _reload(self) -> None:
        found = await connections.load_for_sync(self._db, self.loaded.id)
        if found is None or found.connected_at != self.loaded.connected_at:
            raise ConnectionGoneError(self.loaded.id)
        self.loaded = found


async def to_the_end(exchange: Coroutine[None, None, Answer]) -> Answer:
    """Once the vendor has answered, what it gave must be stored, even if this sync is cancelled meanwhile."""
    task = asyncio.create_task(exchange)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class ConnectionGoneError(Exception):
    """The connection was deleted, or connected anew, while its sync ran: the run ends, nothing else happens."""
