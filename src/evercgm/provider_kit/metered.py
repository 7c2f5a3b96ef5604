"""Whether a call may be made now, and what its answer means for the next ones; knows no HTTP and no database."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol

from evercgm.core import counts, limits
from evercgm.core.counts import Counts
from evercgm.core.errors import CallsHeldBack
from evercgm.core.limits import CallLimits, Grant, Paused, Place, Taken, Urgency, Wait, Waits, Why
from evercgm.logs import get_logger

log = get_logger(__name__)
BLOCK_LASTS_S = limits.BLOCK_LASTS.total_seconds()
_caller: ContextVar[Urgency] = ContextVar("caller", default="background")


@contextmanager
def asked_by(caller: Urgency) -> Iterator[None]:
    """Whose wish the vendor calls in here are; people's own may use what is kept for them.

    It travels with the task, as the request's id does in the logs: no provider has to hand it on.
    """
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


class Ledger(Protocol):
    """Where the calls of all processes are counted (storage/budgets.py)."""

    async def take(
        self, place: Place, call_limits: CallLimits | None, urgency: Urgency, wanted: int, unused: Taken | None
    ) -> tuple[Grant, Taken | None]:
        """Up to ``wanted`` calls that may be made now."""

    async def pause(self, place: Place, asked_s: int | None, took_s: float, wait: Wait) -> Paused | None:
        """An answer came after which nobody calls for a while; None where it could not be written down."""

    async def resume(self, place: Place, until: datetime) -> bool:
        """The probe of the pause of that time was answered."""


@dataclass(slots=True)
class _Block:
    """Calls that this process has taken. ``ends_at`` on the meter's clock."""

    size: int
    minute: datetime | None
    probe_of: datetime | None
    ends_at: float
    used: int = 0

    def is_usable(self, now: float) -> bool:
        return self.used < self.size and now < self.ends_at


@dataclass(frozen=True, slots=True)
class _Hold:
    """No calls for now: the ledger is not asked before ``ask_at``. On the meter's clock."""

    why: Why
    until: float
    ask_at: float


@dataclass(frozen=True, slots=True)
class Ticket:
    """One call that is being made since ``sent_at``."""

    sent_at: float
    probe_of: datetime | None


class Meter:
    """The calls of this process at one place. ``clock`` in seconds, never backward.

    ``waits``: after which statuses nobody calls for a while; if not given, those of the limits.
    """

    def __init__(
        self,
        place: Place,
        call_limits: CallLimits | None,
        ledger: Ledger,
        process: Counts,
        clock: Callable[[], float] = time.monotonic,
        waits: Waits | None = None,
    ):
        self._place = place
        self._waits = waits or (call_limits.waits if call_limits else limits.USUAL_WAITS)
        self._limits = call_limits
        self._ledger = ledger
        self._counts = process
        self._clock = clock
        self._taking = asyncio.Lock()
        self._blocks: dict[Urgency, _Block] = {}
        self._holds: dict[Urgency, _Hold] = {}
        self._refusals = 0

    async def admit(self) -> Ticket:
        """A call may be made now. Raises CallsHeldBack; and, before any call, what the database raises."""
        caller = _caller.get()
        async with self._taking:
            hold = self._holds.get(caller)
            if hold is not None and self._clock() < hold.ask_at:
                self._refuse(caller, hold)
            block = self._blocks.get(caller)
            if block is None or not block.is_usable(self._clock()):
                block = await self._take(caller, block)
            block.used += 1
            return Ticket(self._clock(), block.probe_of)

    def stops_at(self, status: int) -> bool:
        """Whether nobody calls for a while after such an answer."""
        return status in self._waits

    async def answered(
        self, ticket: Ticket, status: int, retry_after_s: int | None, *, of_sign_ins: bool = False
    ) -> None:
        """Count an answer; a 429 pauses the place, any other answer to a probe ends its pause. Never raises.

        ``of_sign_ins``: it says something of sign-ins alone, and here neither begins nor ends a pause.
        """
        self._counts.add(counts.CALLS, *self._place, _kind(status))
        if of_sign_ins:
            return
        if (wait := self._waits.get(status)) is not None:
            await self._pause(ticket, status, retry_after_s, wait)
        elif ticket.probe_of is not None:
            self._forget()
            if await self._ledger.resume(self._place, ticket.probe_of):
                log.info("vendor_resumed", provider=self._place[0], region=self._place[1])

    def lost(self) -> None:
        """A call ended without an answer. A probe that did is followed by another, a minute after it began."""
        self._counts.add(counts.CALLS, *self._place, "none")

    async def _take(self, caller: Urgency, old: _Block | None) -> _Block:
        wanted, unused = limits.FIRST_BLOCK, None
        if old is not None:
            in_time = old.used == old.size and self._clock() < old.ends_at
            wanted = limits.next_block(old.size, old.used, in_time=in_time)
            left = old.size - old.used
            unused = Taken(left, old.minute) if left and old.minute is not None else None
        self._blocks.pop(caller, None)
        refusals = self._refusals
        granted, taken = await self._ledger.take(self._place, self._limits, caller, wanted, unused)
        now = self._clock()
        hold = self._holds.get(caller)
        if refusals != self._refusals and hold is not None:
            # A 429 came while we asked: what was granted before it does not count.
            self._refuse(caller, hold)
        if not granted.calls:
            self._hold(caller, granted.why or "paused", granted.wait_s, now)
        self._holds.pop(caller, None)
        block = _Block(granted.calls, taken.minute if taken else None, granted.probe_of, now + BLOCK_LASTS_S)
        self._blocks[caller] = block
        return block

    def _hold(self, caller: Urgency, why: Why, wait_s: float, now: float) -> NoReturn:
        """Raises CallsHeldBack, and so will the calls of the next two seconds."""
        before = self._holds.get(caller)
        if why == "used_up" and (before is None or before.why != why):
            where = {"provider": self._place[0], "region": self._place[1]}
            log.warning("calls_used_up", **where, caller=caller, wait_s=round(wait_s))
        self._holds[caller] = _Hold(why, now + wait_s, now + min(wait_s, BLOCK_LASTS_S))
        self._refuse(caller, self._holds[caller])

    def _refuse(self, caller: Urgency, hold: _Hold) -> NoReturn:
        self._counts.add(counts.HELD_BACK, *self._place, hold.why, caller)
        raise CallsHeldBack(max(1.0, hold.until - self._clock()))

    async def _pause(self, ticket: Ticket, status: int, retry_after_s: int | None, wait: Wait) -> None:
        """First here, at once and whether or not the database answers; then for all, and the database says how long."""
        now = self._clock()
        self._refusals += 1
        self._forget()
        self._hold_all(now + limits.pause_s(retry_after_s, 1, wait))
        paused = await self._ledger.pause(self._place, retry_after_s, now - ticket.sent_at, wait)
        if paused is None:
            return
        self._hold_all(self._clock() + paused.for_s, ask_within_s=BLOCK_LASTS_S)
        if paused.began:
            where = {"provider": self._place[0], "region": self._place[1]}
            log.warning(
                "vendor_paused",
                **where,
                status=status,
                wait_s=round(paused.for_s),
                strikes=paused.strikes,
                retry_after_s=retry_after_s,
            )

    def _hold_all(self, until: float, ask_within_s: float | None = None) -> None:
        ask_at = until if ask_within_s is None else min(until, self._clock() + ask_within_s)
        for caller in limits.CALLERS:
            self._holds[caller] = _Hold("paused", until, ask_at)

    def _forget(self) -> None:
        """Calls taken before a pause are not made, and what held us back is asked anew."""
        self._blocks.clear()
        self._holds.clear()


def _kind(status: int) -> str:
    """A status as the label of a counter: those that mean something of their own, else its class."""
    return str(status) if status in (401, 403, 429) else f"{status // 100}xx"
