"""Lives through the month of month_plan.py by the service's own actions, in a cloud and a database whose clock we move.

One clock for all of them. A sync is done when the service's own query says that it is due.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import database_clock
import month_plan as plan
from sync_world import World, walk_consent
from two_ways import TwoWays

from evercgm.actions import sign_in
from evercgm.actions.confirm import confirm
from evercgm.actions.disconnect import disconnect
from evercgm.actions.sync import sync_connection
from evercgm.core.caller import Caller
from evercgm.core.connection import CADENCE
from evercgm.core.gaps import explain
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Credentials
from evercgm.providers.dexcom import PROVIDER
from evercgm.storage import connections, gaps

AT_ONCE = 6
MOST = 1000
FACTS = gaps.Facts(PROVIDER.regions["us"].delay, CADENCE, PROVIDER.keeps)


@dataclass
class Wearer:
    """A person of an owner of their own; ``signs_in_at``: when they mean to connect, None while they need not.

    ``connected_at``: their last consent.
    """

    number: int
    person_id: str
    caller: Caller
    deeds: dict[datetime, plan.Deed]
    signs_in_at: datetime | None = plan.BEGAN
    connection_id: str | None = None
    connected_at: datetime = plan.BEGAN

    @property
    def username(self) -> str:
        return plan.username(self.number)


@dataclass
class Month:
    """``reasons``: how often syncs failed for what. ``mistold``: stretches that were explained wrongly, and how."""

    ways: TwoWays
    chance: random.Random
    now: datetime = plan.BEGAN
    wearers: list[Wearer] = field(default_factory=list)
    syncs: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    mistold: list[tuple[plan.Trouble, int, str, list[str]]] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.ways.world

    @property
    def cloud(self) -> Any:
        return self.world.cloud.state.cloud

    def clock(self) -> datetime:
        return self.now

    async def live(self, persons: int) -> None:
        """The whole of it."""
        for number in range(persons):
            wearer = self._arrive(number)
            self.wearers.append(wearer)
            for name, value in plan.faults_of(number, self.chance):
                self.cloud.set_fault(name, value, username=wearer.username)
            await self._connect(wearer)
        before: list[plan.Trouble] = []
        for at in plan.steps():
            lasting = [trouble for trouble in plan.TROUBLES if trouble.lasts(at)]
            self._move_to(at, before, lasting)
            await asyncio.gather(*(self._act(wearer) for wearer in self.wearers))
            if all(trouble.fault is not None for trouble in lasting):
                await self._sync_due()
            for trouble in lasting:
                if trouble.told is not None and not trouble.lasts(at + plan.STEP):
                    await self._ask_why(trouble, trouble.told)
            before = lasting

    def _arrive(self, number: int) -> Wearer:
        owner_id, person_id = str(uuid4()), str(uuid4())
        self.world.sql('insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, owner_id)
        claims = {**self.world.caller.claims, "sub": owner_id}
        return Wearer(number, person_id, Caller(owner_id, claims), plan.deeds_of(number, self.chance))

    def _move_to(self, at: datetime, before: list[plan.Trouble], lasting: list[plan.Trouble]) -> None:
        """The clock, and the weather of that moment."""
        self.now = at
        database_clock.move(self.world.admin_dsn, at)
        self.cloud.move_clock(now=at)
        self.ways.share.desk.move_clock(now=at)
        for trouble in before:
            if trouble.fault is not None and trouble not in lasting:
                self.cloud.set_fault(trouble.fault, None, path=trouble.path)
        for trouble in lasting:
            if trouble.fault is not None and trouble not in before:
                self.cloud.set_fault(trouble.fault, trouble.value, path=trouble.path)
        quiet = at > plan.BEGAN + plan.DAYS * plan.DAY
        for name, value, limits in plan.EVERY_DAY:
            self.cloud.set_fault(name, None if quiet else value, **limits)

    async def _act(self, wearer: Wearer) -> None:
        deed = wearer.deeds.get(self.now)
        if deed == "revoke":
            self.cloud.set_fault("consent_revoked", "at_once", username=wearer.username)
        elif deed == "password":
            self.cloud.set_fault("password_changed", True, username=wearer.username)
        elif deed == "disconnect" and wearer.connection_id:
            await disconnect(self.world.db, self.world.vendors, wearer.caller, wearer.connection_id)
            wearer.connection_id = None
        elif deed == "connect" or (wearer.signs_in_at is not None and wearer.signs_in_at <= self.now):
            await self._connect(wearer)

    async def _connect(self, wearer: Wearer) -> None:
        """Tried again at the next step where the cloud is away."""
        finished = await walk_consent(
            self.world.db, self.world.vendors, wearer.caller, wearer.person_id, wearer.username
        )
        if finished.outcome == "confirm" and finished.attempt:
            # The account's id could not be read just now.
            await confirm(self.world.db, self.world.vendors, wearer.caller, finished.attempt)
        elif finished.outcome != "connected":
            wearer.signs_in_at = self.now
            return
        wearer.signs_in_at, wearer.connected_at = None, self.now
        row = self.world.sql("select id from public.cgm_connections where person_id = %s", wearer.person_id)
        wearer.connection_id = row[0][0]
        if plan.has_share(wearer.number):
            await self._add_share(wearer)

    async def _add_share(self, wearer: Wearer) -> None:
        """The same account's second way in, with a password that may be kept."""
        await sign_in.by_password(
            self.world.db,
            self.world.vendors,
            wearer.caller,
            person_id=wearer.person_id,
            route="dexcom_share",
            region="us",
            credentials=Credentials(Secret(wearer.username), Secret(plan.PASSWORD), keep=True),
        )

    async def _sync_due(self) -> None:
        async with self.world.db.as_worker() as conn:
            asked, due = await connections.due(conn, MOST)
        places = asyncio.Semaphore(AT_ONCE)
        wearers = {wearer.connection_id: wearer for wearer in self.wearers}
        await asyncio.gather(*(self._sync(wearers[connection_id], places) for connection_id in asked + due))

    async def _sync(self, wearer: Wearer, places: asyncio.Semaphore) -> None:
        async with places:
            assert wearer.connection_id is not None
            self.syncs += 1
            result = await sync_connection(
                self.world.db,
                self.world.vendors,
                wearer.connection_id,
                trigger="schedule",
                job_id=self.syncs,
                clock=self.clock,
            )
        assert result is not None
        if result.reason is not None:
            self.reasons[result.reason] += 1
        if result.reason == "reconnect_needed":
            wearer.signs_in_at = self.now + plan.HESITATION

    async def _ask_why(self, trouble: plan.Trouble, told: str) -> None:
        """As the page asks: what the newest stretch without readings of each person is explained by.

        Who came back meanwhile is not asked: theirs begins with what is not read yet. Nor is who has Share: there
        readings go on.
        """
        asked = (one for one in self.wearers if one.connected_at < trouble.start and not plan.has_share(one.number))
        for wearer in asked:
            start = self.now - plan.DAY
            holes, known = await gaps.evidence(
                self.world.db, wearer.caller, wearer.person_id, start, self.now, lambda *_: FACTS
            )
            newest = [hole for hole in holes if hole.after is None]
            found = [gap.reason for gap in explain(newest, known, start, self.now)]
            expected = self._known_of(wearer) or told
            if expected not in found or "unknown" in found:
                self.mistold.append((trouble, wearer.number, expected, list(found)))

    def _known_of(self, wearer: Wearer) -> str | None:
        """What the person's own doing explains, whatever else happens."""
        if wearer.connection_id is None:
            return "not_connected"
        ended = self.world.status(wearer.connection_id)[1] in ("sign_in_refused", "reconnect_needed")
        return "connection_expired" if ended else None
