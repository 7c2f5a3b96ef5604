"""Reads the other ways in of a connection, each in its own stream and with its own trouble, before its own is read."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from evercgm.actions.alarm import call_operator_of_route
from evercgm.actions.saving import save_batch
from evercgm.actions.side_sign_in import SettledElsewhereError, SideSignIn, rest_while_locked
from evercgm.core import counts
from evercgm.core.errors import BadInput, EvercgmError, SealBroken, VendorChanged, VendorDenied
from evercgm.core.reading import Batch
from evercgm.core.sync import CLOCK_ALLOWANCE, Window, advance, next_live_poll, next_poll
from evercgm.core.tokens import Secret, is_due
from evercgm.core.verdict import Trouble, Verdict, judge
from evercgm.logs import get_logger
from evercgm.provider_kit.contract import Provider
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections, routes
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database
from evercgm.storage.readings import Saved, add
from evercgm.storage.routes import SideRoute

log = get_logger(__name__)
Answer = TypeVar("Answer")
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class SideRead:
    """What the other ways gave. ``failure``: of one that failed; ``next_at`` (aware UTC): when the first is due again.

    ``verdict``: what that failure means to the way, as it is noted there: a connection that has no other shares it, so
    that both are due at one time. ``count``: how many there are.
    """

    saved: Saved = field(default_factory=Saved)
    failure: EvercgmError | None = None
    verdict: Verdict | None = None
    next_at: datetime | None = None
    count: int = 0


async def read_side_routes(db: Database, vendors: Vendors, loaded: Loaded, clock: Clock, *, at_once: bool) -> SideRead:
    """Read each whose time has come; ``at_once``: each that does not wait for a sign-in.

    A failure of one is noted there, and stops neither the others nor the connection. Raises what is a bug or the
    loss of the database.
    """
    async with db.as_worker() as conn:
        sides = await routes.of_connection(conn, db.vault, loaded.id)
    found = SideRead(count=len(sides))
    for side in sides:
        if side.next_sync_at is None or not (at_once or side.due):
            found = _with(found, side.next_sync_at)
            continue
        found = await _read_one(db, vendors, loaded, side, clock, found)
    return found


def _with(found: SideRead, next_at: datetime | None) -> SideRead:
    times = [at for at in (found.next_at, next_at) if at is not None]
    return replace(found, next_at=min(times, default=None))


async def _read_one(
    db: Database, vendors: Vendors, loaded: Loaded, side: SideRoute, clock: Clock, found: SideRead
) -> SideRead:
    sign_in = SideSignIn(db, vendors, loaded, clock)
    try:
        rest_while_locked(side, clock())
        provider = _provider(vendors, side)
        saved, account_id = await _Reader(db, vendors, loaded, side, provider, clock, sign_in).read()
    except SettledElsewhereError as settled:
        log.info("route_settled_elsewhere", connection_id=side.connection_id, route=side.route)
        found = _with(found, settled.next_at)
        return replace(found, failure=settled.failure, verdict=settled.verdict) if settled.failure else found
    except EvercgmError as failure:
        verdict = await _failed(db, side, failure, clock())
        return replace(_with(found, verdict.next_sync_at), failure=failure, verdict=verdict)
    finally:
        await sign_in.let_go()
    added = add(found.saved, saved)
    now = clock()
    chance = random.random()  # noqa: S311 - spreads the load
    next_at = _next_at(provider, now, saved.newest or side.newest_at, chance)
    async with db.as_worker() as conn:
        newest_at = advance(side.newest_at, saved.newest, now)
        await routes.note(conn, side, newest_at=newest_at, account_id=account_id, next_sync_at=next_at)
    if side.reason is not None:
        log.info("route_recovered", connection_id=side.connection_id, route=side.route, was=side.reason)
    return replace(_with(found, next_at), saved=added)


def _provider(vendors: Vendors, side: SideRoute) -> Provider:
    provider = vendors.providers.get(side.route)
    if provider is None:
        raise BadInput("route", "this version knows no such way in")
    if side.seal_broken:
        log.error("seal_broken", connection_id=side.connection_id, route=side.route)
        raise SealBroken
    return provider


def _next_at(provider: Provider, now: datetime, newest: datetime | None, chance: float) -> datetime:
    if provider.live is None:
        return next_poll(now, provider.poll_every, chance)
    return next_live_poll(now, newest, provider.cadence, provider.live, chance)


async def _failed(db: Database, side: SideRoute, failure: EvercgmError, now: datetime) -> Verdict:
    """Notes the failure by the same ladder as a connection's own; what it means."""
    before = Trouble(side.reason, side.failure_count, side.next_sync_at)
    verdict = judge(failure, before, now, random.random())  # noqa: S311
    if verdict.reason != side.reason:
        log.warning(
            "route_failing",
            connection_id=side.connection_id,
            route=side.route,
            region=side.region,
            reason=verdict.reason,
            error=type(failure).__name__,
        )
    async with db.as_worker() as conn:
        await call_operator_of_route(conn, side, verdict.reason, failure)
        await routes.note(
            conn, side, reason=verdict.reason, failure_count=verdict.count, next_sync_at=verdict.next_sync_at
        )
    return verdict


class _Reader:
    """One read of one way in, its session renewed at most once."""

    def __init__(
        self,
        db: Database,
        vendors: Vendors,
        loaded: Loaded,
        side: SideRoute,
        provider: Provider,
        clock: Clock,
        sign_in: SideSignIn,
    ):
        self._db = db
        self._vendors = vendors
        self._loaded = loaded
        self._side = side
        self._provider = provider
        self._clock = clock
        self._sign_in = sign_in

    async def read(self) -> tuple[Saved, str | None]:
        """From what is stored of it, or as far back as it gives, to now; and of whose account that is, if it tells."""
        now = self._clock()
        rung = self._provider.rereads[0]
        start = now - (self._provider.keeps or rung.back)
        if self._side.newest_at is not None:
            start = max(start, self._side.newest_at - rung.back)
        window = Window(start, now + CLOCK_ALLOWANCE)
        app = self._vendors.app(self._side.route, self._side.region)
        http = self._vendors.client(self._side.route, self._side.region)
        batch = await self._call(lambda token: self._provider.read(http, app, token, window))
        return await self._store(batch, window), batch.account_id

    async def _call(self, use: Callable[[Secret], Awaitable[Answer]]) -> Answer:
        """With a session that is good; after a 401 renewed once, and repeated once."""
        if is_due(self._side.tokens, self._clock()):
            self._side = await self._sign_in.renew(self._side)
        try:
            return await use(self._side.tokens.access)
        except VendorDenied as denied:
            if not denied.expired_token:
                raise
        self._side = await self._sign_in.renew(self._side)
        return await use(self._side.tokens.access)

    async def _store(self, batch: Batch, window: Window) -> Saved:
        account = batch.account_id or self._side.account_id
        if self._side.account_id is not None and account != self._side.account_id:
            raise VendorChanged("an answer for another account than the one that was signed in")
        provider, region = self._provider, self._side.region
        async with self._db.as_worker() as conn:
            if not (await connections.lock(conn, self._loaded.id) and await routes.is_current(conn, self._side)):
                log.info("route_answer_unwanted", connection_id=self._loaded.id, route=provider.route)
                return Saved()
            saved = await save_batch(
                conn, self._vendors, provider, batch, window,
                person_id=self._side.person_id, connection_id=self._loaded.id, account=account or "unknown",
            )  # fmt: skip
        self._vendors.counts.add(counts.READINGS, provider.route, region, by=saved.inserted + saved.updated)
        self._vendors.counts.add(counts.REJECTED, provider.route, region, by=saved.rejected)
        return saved
