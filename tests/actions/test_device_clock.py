"""A pump whose clock is set while CareLink tells of its last day: each reading once, at the instant it was measured."""

import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from one_person import make_person

from evercgm.actions.saving import save_batch
from evercgm.core.reading import Batch, Reading
from evercgm.core.sync import Window
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.providers.medtronic.mapping import read_message
from evercgm.storage import readings
from evercgm.storage.database import Database, open_database
from evercgm.storage.readings import Owner, Saved
from evercgm.storage.vault import Vault

A_DAY, AN_HOUR, FIVE_MINUTES = timedelta(hours=24), timedelta(hours=1), timedelta(minutes=5)
VENDORS = Vendors(PROVIDERS, {}, {})
STORED = """select "timestamp", value from public.glucose_readings where person_id = 'p-1' order by 1, 2"""


def by_turns(at: datetime) -> int:
    """A curve whose neighbours differ, and whose hours do not repeat one another."""
    n = int(at.timestamp()) // 300
    return 80 + n * 7 % 181


@dataclass
class Wearer:
    """A sensor that measures each five minutes, beside a pump whose clock is set at ``change`` (aware UTC).

    Clocks are minutes ahead of UTC; ``missing``: what the phone has not uploaded.
    """

    db: Database
    change: datetime
    before: int
    after: int
    value: Callable[[datetime], int] = by_turns
    marked: bool = False
    missing: set[datetime] = field(default_factory=set)

    def wall(self, at: datetime) -> datetime:
        return at + timedelta(minutes=self.before if at < self.change else self.after)

    def measured(self, until: datetime, since: timedelta = A_DAY) -> dict[datetime, int]:
        first = self.change + (until - self.change) // FIVE_MINUTES * FIVE_MINUTES
        instants = [first - n * FIVE_MINUTES for n in range(since // FIVE_MINUTES)]
        return {at: self.value(at) for at in reversed(instants) if at not in self.missing}

    def answer(self, now: datetime) -> bytes:
        """The last 24 hours, as CareLink tells them at ``now``."""
        rows = [
            {"kind": "SG", "sg": value, "timestamp": f"{self.wall(at):%Y-%m-%dT%H:%M:%S}"}
            for at, value in self.measured(now).items()
        ]
        marker = {"type": "TIME_CHANGE", "timestamp": f"{self.wall(self.change):%Y-%m-%dT%H:%M:%S}"}
        told = {
            "currentServerTime": int(now.timestamp() * 1000),
            "lastMedicalDeviceDataUpdateServerTime": int(now.timestamp() * 1000),
            "medicalDeviceTime": int(self.wall(now).timestamp() * 1000),
            "markers": [marker] if self.marked and now >= self.change else [],
            "sgs": rows,
        }
        return json.dumps({"patientData": told}).encode()

    async def sync(self, now: datetime) -> Saved:
        batch = read_message(self.answer(now), "account", now)
        async with self.db.as_worker() as conn:
            return await save_batch(
                conn, VENDORS, PROVIDERS["medtronic"], batch, Window(now - A_DAY, now),
                person_id="p-1", connection_id="c-1", account="account",
            )  # fmt: skip

    async def syncs(self, hours: Iterable[float]) -> None:
        """At so many hours after the change, a minute after a reading."""
        for hour in hours:
            await self.sync(self.change + hour * AN_HOUR + timedelta(minutes=1))

    async def stored(self) -> list[tuple[datetime, int]]:
        async with self.db.as_worker() as conn:
            rows = await (await conn.execute(STORED)).fetchall()
        return [(row["timestamp"].replace(tzinfo=UTC), int(row["value"])) for row in rows]

    def truth(self, first: float, last: float) -> list[tuple[datetime, int]]:
        """All that was measured from a day before the first of these hours after the change until the last."""
        until = self.change + last * AN_HOUR
        return list(self.measured(until, (last - first) * AN_HOUR + A_DAY).items())


@pytest.fixture
async def db(database: Any) -> AsyncIterator[Database]:
    make_person(database.owner_dsn, "medtronic")
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=2) as opened:
        yield opened


SPRING = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
FLIGHT = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
AROUND = (-1, -1 / 12, 0, 0.25, 0.5, 1, 2, 5, 11, 23, 25, 30, 49)


@pytest.mark.parametrize("marked", [True, False], ids=["with a marker", "without a marker"])
@pytest.mark.parametrize(
    ("change", "before", "after"),
    [(FLIGHT, 60, 420), (FLIGHT, 330, 345), (FLIGHT, -480, 540), (SPRING, 60, 120)],
    ids=["six hours east", "a quarter of an hour east", "over the Pacific", "spring"],
)
async def test_a_clock_set_ahead_stores_nothing_twice_and_moves_nothing(
    db: Database, change: datetime, before: int, after: int, marked: bool
) -> None:
    wearer = Wearer(db, change, before, after, marked=marked)

    await wearer.syncs(AROUND)

    assert await wearer.stored() == wearer.truth(-1, 49)


@pytest.mark.parametrize("value", [by_turns, lambda _at: 120], ids=["a curve", "one value all the time"])
@pytest.mark.parametrize("after", [60, -240], ids=["autumn", "six hours west"])
async def test_a_clock_set_back_loses_nothing_of_the_hours_that_come_twice(
    db: Database, after: int, value: Callable[[datetime], int]
) -> None:
    wearer = Wearer(db, AUTUMN, 120, after, value)

    await wearer.syncs((*(n / 12 for n in range(-3, 16)), 5, 11, 23.5, 24, 24.5, 25, 30))

    assert await wearer.stored() == wearer.truth(-0.25, 30)


async def test_what_came_too_late_to_be_read_rightly_rewrites_nothing(db: Database) -> None:
    """A night without an upload before a spring change without a marker."""
    wearer = Wearer(db, SPRING, 60, 120)

    await wearer.syncs((-6, 0.5, 1, 5))

    before = wearer.change - 6 * AN_HOUR
    assert [one for one in await wearer.stored() if one[0] <= before] == wearer.truth(-6, -6)


async def test_an_hour_that_came_twice_and_was_uploaded_a_day_later_is_not_lost(db: Database) -> None:
    wearer = Wearer(db, AUTUMN, 120, 60, lambda _at: 120)

    await wearer.syncs((-1, 0, 23.9, 24.5))

    assert await wearer.stored() == wearer.truth(-1, 24.5)


async def test_what_was_missing_at_first_is_stored_when_it_comes_after_the_clock_was_set(db: Database) -> None:
    wearer = Wearer(db, FLIGHT, 60, 420, marked=True)
    wearer.missing = {FLIGHT + n * FIVE_MINUTES for n in (-30, -29, 20, 21)}
    await wearer.syncs((-1, 0, 1, 2))
    wearer.missing = set()

    await wearer.syncs((3,))

    assert await wearer.stored() == wearer.truth(-1, 3)


async def test_a_value_that_is_corrected_after_the_clock_was_set_is_corrected(db: Database) -> None:
    wearer = Wearer(db, FLIGHT, 60, 420, marked=True)
    await wearer.syncs((-1, 0, 1))
    wearer.value = lambda at: by_turns(at) + (at == FLIGHT + 6 * FIVE_MINUTES)

    await wearer.syncs((2,))

    assert await wearer.stored() == wearer.truth(-1, 2)


def test_only_carelinks_times_are_the_clock_of_a_device() -> None:
    assert [route for route, one in PROVIDERS.items() if one.by_device_clock] == ["medtronic"]


@pytest.mark.parametrize(("value", "stored"), [(150, [100, 120, 150]), (100, [100, 120])])
async def test_another_value_at_a_local_time_that_was_shown_before_is_another_reading(
    db: Database, value: int, stored: list[int]
) -> None:
    at = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    owner = Owner("p-1", "c-1", "medtronic/medtronic/account", by_device_clock=True)
    first = Reading("first", at, 100, display_offset_min=120)
    newest = Reading("newest", at + 3 * AN_HOUR, 120, display_offset_min=60)
    late = Reading("late", at + AN_HOUR, value, display_offset_min=60)

    async with db.as_worker() as conn:
        for batch in ((first, newest), (newest, late)):
            await readings.save(conn, owner, Batch(batch, (), "account"))
        found = await (await conn.execute("select value from public.glucose_readings order by value")).fetchall()

    assert [row["value"] for row in found] == stored
