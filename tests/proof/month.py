"""Thirty persons, thirty days in virtual time, and everything that can go wrong at once; then eight quiet days."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sync_world import World, walk_consent

from evercgm.actions.confirm import confirm
from evercgm.actions.disconnect import disconnect
from evercgm.actions.sync import sync_connection
from evercgm.core.caller import Caller
from evercgm.providers.dexcom.simulator.cloud import Account

DAYS, QUIET_DAYS = 30, 8
STEP = timedelta(hours=2)
AT_ONCE = 6
RECORDINGS = ("hall2018_2133-018", "hall2018_2133-035")
LONGEST_WAIT = timedelta(hours=20)
# From day and hour, for how long: nobody of ours runs.
WORKER_AWAY = ((6, 3, 30), (19, 12, 96))
# What the whole cloud does meanwhile, as (day, hours, fault, value).
CLOUD_AWAY: tuple[tuple[float, float, str, object], ...] = (
    (3.2, 10, "server_error", 503),
    (9.5, 6, "html", True),
    (13.1, 4, "rate_limited", "3600"),
    (16.7, 5, "cut_body", "short"),
    (24.4, 8, "empty", True),
    (27.0, 6, "unknown_enums", True),
)
# Clocks and zones of the wearers' devices.
CLOCKS: tuple[tuple[float, float, str, object], ...] = (
    (5.0, 24, "display_time_text", "half_hour_offset"),
    (11.0, 48, "system_time_text", "no_zone"),
    (21.0, 24, "system_time_text", "offset"),
)


def accounts(count: int) -> list[Account]:
    """One for each wearer, on the shipped recordings in turn."""
    return [Account(f"wearer{n}", f"wearer {n}", RECORDINGS[n % len(RECORDINGS)]) for n in range(count)]


@dataclass
class Wearer:
    """A person of an owner of their own; ``deeds``: what they do at which virtual hour of the month."""

    number: int
    person_id: str
    caller: Caller
    deeds: dict[int, str]
    connection_id: str | None = None
    ended_at: datetime | None = None

    @property
    def username(self) -> str:
        return f"wearer{self.number}"


@dataclass
class Month:
    """The clock is the cloud's, and ours; it ends at about the present, so that no reading is from the future."""

    world: World
    began: datetime
    random: random.Random
    wearers: list[Wearer] = field(default_factory=list)
    syncs: int = 0
    failures: int = 0

    @property
    def cloud(self) -> Any:
        return self.world.cloud.state.cloud

    def now(self) -> datetime:
        return self.cloud.clock()  # type: ignore[no-any-return]

    async def live(self, count: int) -> None:
        """The whole of it."""
        for number in range(count):
            self.wearers.append(self._wearer(number))
        for wearer in self.wearers:
            self._plan_uploads(wearer)
            await self._connect(wearer)
        for at in self._hours():
            self.cloud.move_clock(now=at)
            hour = round((at - self.began) / timedelta(hours=1))
            self._weather(hour / 24)
            await asyncio.gather(*(self._deed(wearer, hour) for wearer in self.wearers))
            if not self._worker_is_away(hour / 24):
                await self._sync_due()
        self.cloud.clear_faults("rate_limited")

    def _hours(self) -> Iterator[datetime]:
        at = self.began
        while at < self.began + timedelta(days=DAYS + QUIET_DAYS):
            at += STEP
            yield at

    def _wearer(self, number: int) -> Wearer:
        owner_id, person_id = str(uuid4()), str(uuid4())
        self.world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, owner_id)
        claims = {**self.world.caller.claims, "sub": owner_id}
        return Wearer(number, person_id, Caller(owner_id, claims), self._deeds(number))

    def _deeds(self, number: int) -> dict[int, str]:
        """A person in three has a consent that ends, changes the password, or disconnects for a day."""
        hour = 2 * self.random.randrange(60, 280)
        kind = number % 6
        if kind == 0:
            return {hour: "revoke"}
        if kind == 1:
            return {hour: "password"}
        return {hour: "disconnect", hour + 20: "connect"} if kind == 2 else {}

    def _plan_uploads(self, wearer: Wearer) -> None:
        """Late batches, a receiver's fortnight, corrections, doubled ids: each at most 30 days late."""
        self._span(wearer, "late_batch", hours=self.random.randint(1, 60), late_days=self.random.uniform(0.3, 26))
        self._span(wearer, "corrected_values", hours=self.random.randint(1, 12), late_days=self.random.uniform(0.1, 20))
        self._span(
            wearer, "new_record_ids", hours=6, late_days=self.random.uniform(0.1, 20), both=wearer.number % 2 == 0
        )
        if wearer.number % 3 == 0:
            self._span(wearer, "receiver_dump", hours=14 * 24, late_days=self.random.uniform(0.1, 15))

    def _span(self, wearer: Wearer, name: str, *, hours: float, late_days: float, **more: object) -> None:
        latest = DAYS - late_days - hours / 24
        start = self.began + timedelta(days=self.random.uniform(0, max(latest, 0.1)))
        end = start + timedelta(hours=hours)
        told = {"start": start.isoformat(), "end": end.isoformat(), "at": (end + timedelta(days=late_days)).isoformat()}
        self.cloud.set_fault(name, {**told, **more}, username=wearer.username)

    def _weather(self, day: float) -> None:
        for begins, hours, name, value in (*CLOUD_AWAY, *CLOCKS):
            inside = begins <= day < begins + hours / 24
            path = "egvs" if name in ("empty", "unknown_enums", "system_time_text", "display_time_text") else None
            self.cloud.set_fault(name, value if inside else None, path=path)
        calm = day > DAYS
        self.cloud.set_fault("server_error", None if calm else 500, probability=0.03, path="dataRange")
        self.cloud.set_fault("unauthorized", None if calm else "apigee", count=2)
        self.cloud.set_fault("future_time", None if calm else 48, count=1, path="egvs")

    def _worker_is_away(self, day: float) -> bool:
        return any(begins + hour / 24 <= day < begins + (hour + long) / 24 for begins, hour, long in WORKER_AWAY)

    async def _deed(self, wearer: Wearer, hour: int) -> None:
        deed = wearer.deeds.get(hour)
        if deed == "revoke":
            self.cloud.set_fault("consent_revoked", "at_once", username=wearer.username)
        elif deed == "password":
            self.cloud.set_fault("password_changed", True, username=wearer.username)
        elif deed == "disconnect" and wearer.connection_id:
            await disconnect(self.world.db, wearer.caller, wearer.connection_id)
            wearer.connection_id = None
        elif deed == "connect" or self._has_waited(wearer):
            await self._connect(wearer)

    def _has_waited(self, wearer: Wearer) -> bool:
        return wearer.ended_at is not None and self.now() - wearer.ended_at >= timedelta(hours=30)

    async def _connect(self, wearer: Wearer) -> None:
        """Tried again at the next step where the cloud is away."""
        finished = await walk_consent(
            self.world.db, self.world.vendors, wearer.caller, wearer.person_id, wearer.username
        )
        if finished.outcome == "confirm" and finished.attempt:
            await confirm(self.world.db, self.world.vendors, wearer.caller, finished.attempt)
        elif finished.outcome != "connected":
            wearer.ended_at = self.now()
            return
        wearer.ended_at = None
        row = self.world.sql("select id from public.cgm_connections where person_id = %s", wearer.person_id)
        wearer.connection_id = row[0][0]

    async def _sync_due(self) -> None:
        self.world.sql("delete from cgm_private.provider_pauses")
        now = self.now()
        due = {
            row[0]
            for row in self.world.sql(
                # A time that our own clock wrote, at the consent, lies beyond all that a ladder waits.
                """select s.connection_id from cgm_private.sync_state s
                   join public.cgm_connections c on c.id = s.connection_id
                   where c.status in ('connected', 'error') and s.next_sync_at is not null
                     and not (s.next_sync_at > %s and s.next_sync_at < %s)""",
                now,
                now + LONGEST_WAIT,
            )
        }
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._sync(wearer, places) for wearer in self.wearers if wearer.connection_id in due))

    async def _sync(self, wearer: Wearer, places: asyncio.Semaphore) -> None:
        assert wearer.connection_id is not None
        async with places:
            result = await sync_connection(
                self.world.db, self.world.vendors, wearer.connection_id, trigger="schedule", clock=self.now
            )
        self.syncs += 1
        if result is not None and result.outcome == "failed":
            self.failures += 1
        if self.world.status(wearer.connection_id)[0] == "expired" and wearer.ended_at is None:
            wearer.ended_at = self.now()


def month_ago() -> datetime:
    """So that the last quiet day ends before the present."""
    return datetime.now(UTC) - timedelta(days=DAYS + QUIET_DAYS, hours=3)
