"""The right to call a vendor for one connection: a token that is fresh, refreshed by one process at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import TypeVar

from evercgm.core.errors import GrantRefused, ReconnectNeeded, VendorDenied, VendorTryLater
from evercgm.core.tokens import Secret, is_due
from evercgm.logs import get_logger
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

    def __init__(self, db: Database, vendors: Vendors, route: str, loaded: Loaded):
        self._db = db
        self._vendors = vendors
        self._route = route
        self.loaded = loaded

    async def call(self, use: Callable[[Secret], Awaitable[Answer]]) -> Answer:
        """Call the vendor with a fresh access token; after a 401 refresh once and repeat once.

        Raises what ``use`` raises, and GrantRefused, ReconnectNeeded, OperatorMustAct, VendorError.
        """
        if is_due(self.loaded.tokens, datetime.now(UTC)):
            await self._refresh()
        try:
            return await use(self.loaded.tokens.access)
        except VendorDenied as denied:
            if not denied.expired_token:
                raise
        await self._refresh()
        return await use(self.loaded.tokens.access)

    async def _refresh(self) -> None:
        """New tokens from the vendor, or those that another process stored meanwhile."""
        if not self.loaded.tokens.refresh:
            raise ReconnectNeeded("no_tokens")
        seen = self.loaded.generation
        for _ in range(int(LONGEST_WAIT_S / WAIT_S)):
            if await connections.take_refresh_lease(self._db, self.loaded):
                await _to_the_end(self._exchange())
                return
            await self._reload()
            if self.loaded.generation != seen:
                return
            await asyncio.sleep(WAIT_S)
        raise VendorTryLater("another process holds the refresh of this connection")

    async def _exchange(self) -> None:
        provider = self._vendors.providers[self._route]
        app = self._vendors.app(self._route, self.loaded.region)
        try:
            tokens = await provider.refresh(self._vendors.http, app, self.loaded.tokens.refresh)
        except GrantRefused:
            await self._judge_refusal()
            return
        except BaseException:
            await connections.drop_refresh_lease(self._db, self.loaded)
            raise
        if await connections.save_refreshed(self._db, self.loaded, tokens):
            log.info("token_refreshed", connection_id=self.loaded.id, generation=self.loaded.generation + 1)
        await self._reload()

    async def _judge_refusal(self) -> None:
        """A refused refresh counts only if the tokens are still those we used."""
        seen = self.loaded
        await connections.drop_refresh_lease(self._db, seen)
        await self._reload()
        if self.loaded.generation == seen.generation:
            raise GrantRefused("the refresh token was refused")

    async def _reload(self) -> None:
        found = await connections.load_for_sync(self._db, self.loaded.id)
        if found is None:
            raise ConnectionGoneError(self.loaded.id)
        self.loaded = found


async def _to_the_end(exchange: Coroutine[None, None, None]) -> None:
    """Once the vendor has answered, the pair must be stored, even if this sync is cancelled meanwhile."""
    task = asyncio.create_task(exchange)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class ConnectionGoneError(Exception):
    """The connection was deleted while its sync ran: the run ends, nothing else happens."""
