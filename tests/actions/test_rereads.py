"""The re-read ladder against the simulated cloud: weeks with readings that come late, change or vanish."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from sync_world import World, open_world

from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection
from evercgm.core.ladder import Scan
from evercgm.core.reading import Batch, Rejected
from evercgm.core.sync import Window
from evercgm.providers.dexcom import PROVIDER
from evercgm.storage import connections
from evercgm.storage.readings import ENOUGH_TRIES

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# A reading an hour, so that weeks are quick; a stretch of six of them.
STRETCH, READINGS = 6 * HOUR, 6
EVERY_WEEK = timedelta(days=6, hours=12)
STORED = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1, 2'
ABSENT = """select count(*) from cgm_private.reading_details d join public.glucose_readings r on r.id = d.reading_id
            where d.absent_since is not null and r."timestamp" >= %s and r."timestamp" < %s"""


@dataclass
class Days:
    """A world whose days pass when we say so, long ago by the machine's clock; and what is asked of its cloud."""

    now: datetime
    world: World = field(init=False)
    connection_id: str = field(init=False)
    windows: list[Window] = field(default_factory=list)
    before_answer: Callable[[], Any] = lambda: None
    jobs: int = 0

    def clock(self) -> datetime:
        return self.now

    async def begin(self) -> None:
        """The person connects, and the first sync reads the history."""
        self.connection_id = await self.world.connect()
        await self.sync()

    async def sync(self) -> Result:
        """One that goes well."""
        result = await self.job()
        assert result is not None
        assert result.reason is None
        return result

    async def job(self) -> Result | None:
        """As a worker of the engine: it takes over what another one left behind."""
        self.windows.clear()
        self.world.weather.calls.clear()
        self.jobs += 1
        # Otherwise the cloud, whose clock is ours, refuses the first call with 401.
        self.world.sql("update public.cgm_connections set token_expires_at = %s", self.now.replace(tzinfo=None))
        return await sync_connection(
            self.world.db,
            self.world.vendors,
            self.connection_id,
            trigger="schedule",
            job_id=self.jobs,
            clock=self.clock,
        )

    async def pass_by(self, time: timedelta, every: timedelta = DAY) -> None:
        """Time goes on, with syncs."""
        until = self.now + time
        while self.now < until:
            self.now = min(self.now + every, until)
            await self.sync()

    def fault(self, name: str, value: object, **more: Any) -> None:
        self.world.cloud.state.cloud.set_fault(name, value, **more)

    def span(self, name: str, start: datetime, length: timedelta, at: datetime, **more: object) -> None:
        """A fault of the readings from ``start`` on that shows at ``at``."""
        span = {"start": start.isoformat(), "end": (start + length).isoformat(), "at": at.isoformat()}
        self.fault(name, {**span, **more})

    async def is_complete(self) -> bool:
        return self.world.sql(STORED, self.world.person_id) == await self.world.truth()

    def stored(self, start: datetime, length: timedelta) -> list[tuple[Any, ...]]:
        """What the database holds of a stretch."""
        ends = start.replace(tzinfo=None), (start + length).replace(tzinfo=None)
        return [row for row in self.world.sql(STORED, self.world.person_id) if ends[0] <= row[0] < ends[1]]

    def absent(self, start: datetime, length: timedelta) -> int:
        return int(self.world.sql(ABSENT, start.replace(tzinfo=None), (start + length).replace(tzinfo=None))[0][0])

    async def scans(self) -> dict[str, Scan]:
        loaded = await connections.load_for_sync(self.world.db, self.connection_id)
        assert loaded is not None
        return dict(loaded.scans)

    def without_news(self) -> None:
        """As at a vendor that cannot tell what is new: the scans alone must find it."""
        provider = replace(self.world.vendors.providers["dexcom"], news=None)
        self.world.vendors = replace(self.world.vendors, providers={"dexcom": provider})

    def spoil(self, start: datetime, length: timedelta) -> None:
        """From now on the records of a stretch come in a unit that nobody knows."""
        provider = self.world.vendors.providers["dexcom"]

        async def read(*asked: Any) -> Batch:
            batch = await PROVIDER.read(*asked)
            spoilt = [one for one in batch.readings if start <= one.measured_at < start + length]
            rest = tuple(one for one in batch.readings if one not in spoilt)
            return replace(
                batch, readings=rest, rejected=tuple(Rejected(one.record_key, "unknown_unit") for one in spoilt)
            )

        self.world.vendors = replace(self.world.vendors, providers={"dexcom": replace(provider, read=read)})

    def listen(self) -> None:
        """Note each window that is asked for."""
        cloud = self.world.weather.cloud

        async def listening(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith("/egvs"):
                query = parse_qs(scope["query_string"].decode())
                start, end = (
                    datetime.fromisoformat(query[name][0]).replace(tzinfo=UTC) for name in ("startDate", "endDate")
                )
                self.windows.append(Window(start, end))
                await asyncio.sleep(0)
                self.before_answer()
            await cloud(scope, receive, send)

        self.world.weather.cloud = listening


@pytest.fixture
async def days(database: Any, tmp_path: Path) -> AsyncIterator[Days]:
    made = Days(datetime.now(UTC).replace(microsecond=0) - 80 * DAY)
    trace = tmp_path / "hourly.csv"
    points = (f"{made.now.replace(tzinfo=None) - n * HOUR},{80 + n % 150}" for n in range(60 * 24))
    trace.write_text("\n".join(["local_time,glucose_mg_dl", *points]))
    async with open_world(
        database.admin_dsn, database.service_dsn, tmp_path / "cloud", made.clock, trace=trace
    ) as world:
        made.world = world
        made.listen()
        yield made


async def test_the_first_history_counts_as_a_scan_of_each_kind(days: Days) -> None:
    await days.begin()

    assert await days.scans() == {"daily": Scan(days.now), "weekly": Scan(days.now)}
    days.now += 5 * MINUTE
    await days.sync()
    assert len(days.windows) == 1


async def test_between_scans_a_sync_is_one_call(days: Days) -> None:
    await days.begin()

    for _ in range(10):
        days.now += 5 * MINUTE
        await days.sync()
        assert [one for one in days.world.weather.calls if one != "token"] == ["egvs"]

    assert days.windows[0].start >= days.now - 25 * HOUR


async def test_the_daily_scan_is_one_window_more_down_to_8_days_and_asks_once_what_is_new(days: Days) -> None:
    await days.begin()

    days.now += DAY
    await days.sync()

    new, again = days.windows
    assert (new.end, again.end) > (days.now, new.start)
    assert 7 * DAY <= new.start - again.start <= 7 * DAY + HOUR
    assert days.world.weather.calls.count("dataRange") == 1
    days.now += 5 * MINUTE
    await days.sync()
    assert (len(days.windows), days.world.weather.calls.count("dataRange")) == (1, 0)


async def test_the_weekly_scan_is_two_windows_of_at_most_30_days_down_to_38(days: Days) -> None:
    await days.begin()

    await days.pass_by(EVERY_WEEK)

    new, newer, older = days.windows
    assert max(newer.end - newer.start, older.end - older.start) <= 30 * DAY
    assert 37 * DAY <= new.start - older.start <= 38 * DAY
    assert newer.start <= older.end
    assert new.start <= newer.end


@pytest.mark.parametrize(
    ("late", "found_within"),
    [
        (7 * HOUR, 12 * HOUR),
        (20 * HOUR, 12 * HOUR),
        (3 * DAY, DAY + 12 * HOUR),
        (7 * DAY, DAY + 12 * HOUR),
        (29 * DAY, 7 * DAY),
        (30 * DAY, 7 * DAY),
    ],
    ids=str,
)
async def test_what_comes_late_is_stored_within_a_week_of_its_coming(
    days: Days, late: timedelta, found_within: timedelta
) -> None:
    days.without_news()
    came = days.now + 2 * DAY
    measured = came - late
    days.span("late_batch", measured, STRETCH, came)
    await days.begin()

    await days.pass_by(2 * DAY - HOUR)
    assert days.stored(measured, STRETCH) == []
    await days.pass_by(HOUR + found_within, every=12 * HOUR)

    assert len(days.stored(measured, STRETCH)) == READINGS
    assert await days.is_complete()


async def test_what_is_older_than_any_scan_is_found_the_same_day_where_the_vendor_says_that_it_is_new(
    days: Days,
) -> None:
    measured, came = days.now - 50 * DAY, days.now + 2 * DAY
    days.span("receiver_dump", measured, 2 * DAY, came)
    await days.begin()
    await days.pass_by(2 * DAY - HOUR)
    assert days.stored(measured, 2 * DAY) == []

    await days.pass_by(DAY + HOUR)

    assert await days.is_complete()


async def test_a_vendor_that_does_not_understand_the_question_for_news_is_read_as_without_it(days: Days) -> None:
    days.fault("last_sync_form", "without_z")
    await days.begin()

    days.now += DAY
    await days.sync()

    assert (len(days.windows), days.world.weather.calls.count("dataRange")) == (2, 1)


async def test_a_scan_that_is_killed_between_its_windows_goes_on_with_the_next_one(days: Days) -> None:
    await days.begin()
    await days.pass_by(EVERY_WEEK - HOUR)
    days.now += HOUR
    syncing = asyncio.create_task(days.job())
    days.before_answer = lambda: syncing.cancel() if len(days.windows) == 3 else None
    with pytest.raises(asyncio.CancelledError):
        await syncing
    days.before_answer = lambda: None
    killed = list(days.windows)
    begun_at = days.now
    half = await days.scans()

    days.now += 10 * MINUTE
    await days.sync()

    assert half["daily"] == Scan(begun_at)
    assert (half["weekly"].begun, len(half["weekly"].left)) == (begun_at, 1)
    assert days.windows[1:] == killed[2:]
    assert await days.scans() == {"daily": Scan(begun_at), "weekly": Scan(begun_at)}


async def test_a_scan_that_meets_an_outage_goes_on_after_it_and_what_is_new_was_stored(days: Days) -> None:
    await days.begin()
    days.now += EVERY_WEEK
    days.before_answer = lambda: (
        days.fault("server_error", 503, count=1, path="egvs") if len(days.windows) == 2 else None
    )

    failed = await days.job()
    assert failed is not None
    assert failed.reason == "vendor_unavailable"
    assert await days.is_complete()
    assert (await days.scans())["weekly"].done == days.now - EVERY_WEEK
    days.before_answer = lambda: None
    days.now += HOUR
    await days.sync()

    assert await days.scans() == {"daily": Scan(days.now), "weekly": Scan(days.now)}


async def test_a_daily_scan_that_was_missed_for_three_days_is_done_once_and_deeper(days: Days) -> None:
    await days.begin()
    last = days.now

    days.now += 4 * DAY
    await days.sync()
    deep = days.windows[-1]
    assert len(days.windows) == 2
    assert deep.start <= last - 7 * DAY
    days.now += 5 * MINUTE
    await days.sync()

    assert len(days.windows) == 1
    assert await days.is_complete()


async def test_a_correction_of_long_ago_changes_the_stored_value_and_adds_nothing(days: Days) -> None:
    days.without_news()
    await days.begin()
    corrected = days.now - 25 * DAY
    count, before = len(days.stored(days.now - 90 * DAY, 90 * DAY)), days.stored(corrected, STRETCH)

    days.span("corrected_values", corrected, STRETCH, days.now + DAY, add_mg_dl=7)
    await days.pass_by(7 * DAY)

    assert days.stored(corrected, STRETCH) == [(at, value + 7) for at, value in before]
    assert len(days.stored(days.now - 97 * DAY, 90 * DAY)) == count
    assert await days.is_complete()


@pytest.mark.parametrize(("ago", "noted_within"), [(8 * HOUR, HOUR), (5 * DAY, DAY), (20 * DAY, 7 * DAY)], ids=str)
async def test_what_the_vendor_shows_no_more_stays_and_is_noted_until_it_is_shown_again(
    days: Days, ago: timedelta, noted_within: timedelta
) -> None:
    await days.begin()
    vanished = days.now - ago
    before = days.stored(vanished, STRETCH)
    back = noted_within + HOUR
    days.span("late_batch", vanished, STRETCH, days.now + back)

    await days.pass_by(noted_within)

    assert days.stored(vanished, STRETCH) == before
    assert days.absent(vanished, STRETCH) == len(before) == READINGS
    await days.pass_by(back)
    assert days.stored(vanished, STRETCH) == before
    assert days.absent(vanished, STRETCH) == 0
    assert await days.is_complete()


async def test_a_record_that_cannot_be_read_has_its_window_of_a_scan_read_again_until_it_can(days: Days) -> None:
    days.without_news()
    await days.begin()
    spoilt = days.now - 5 * DAY
    days.spoil(spoilt, STRETCH)
    days.now += DAY
    last, before = (await days.scans())["daily"].done, len(days.stored(spoilt, STRETCH))

    await days.sync()
    assert (await days.scans())["daily"].done == last
    await days.sync()
    assert len(days.windows) == 2
    aside = days.world.sql("select distinct reason, times_seen from cgm_private.rejected_records")
    days.spoil(spoilt, timedelta(0))
    await days.sync()

    assert aside == [("unknown_unit", 2)]
    assert (await days.scans())["daily"] == Scan(days.now)
    assert before == len(days.stored(spoilt, STRETCH)) == READINGS
    assert days.absent(spoilt, STRETCH) == 0


async def test_a_record_that_never_can_be_read_does_not_have_its_scan_come_at_each_sync(days: Days) -> None:
    days.without_news()
    await days.begin()
    days.spoil(days.now - 5 * DAY, STRETCH)
    days.now += DAY

    scans = []
    for _ in range(ENOUGH_TRIES + 2):
        await days.sync()
        scans.append(len(days.windows) == 2)

    assert scans == [True] * ENOUGH_TRIES + [False] * 2


async def test_clocks_of_machines_that_differ_by_minutes_neither_repeat_scans_nor_lose_readings(days: Days) -> None:
    days.without_news()
    measured, came = days.now - 27 * DAY, days.now + 2 * DAY
    days.span("late_batch", measured, STRETCH, came)
    await days.begin()
    scanned = 0

    for n in range(9 * 3):
        days.now += 8 * HOUR
        true, days.now = days.now, days.now + (-20, 0, 20)[n % 3] * MINUTE
        # The cloud keeps to the true time.
        days.world.cloud.state.cloud.clock.shift = true - days.now
        await days.sync()
        days.now = true
        days.world.cloud.state.cloud.clock.shift = timedelta(0)
        scanned += len(days.windows) > 1

    assert scanned <= 9
    await days.sync()
    assert len(days.stored(measured, STRETCH)) == READINGS
    assert await days.is_complete()


@pytest.mark.parametrize("hours_ahead", [12, 23, 48, 9000])
async def test_a_record_from_the_future_moves_nothing_and_the_rest_goes_on(world: World, hours_ahead: float) -> None:
    connection_id = await world.connect()
    world.cloud.state.cloud.set_fault("future_time", hours_ahead)

    result = await world.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert world.sql("select distinct reason from cgm_private.rejected_records") == (
        [("future_time",)] if hours_ahead > 24 else []
    )
    loaded = await connections.load_for_sync(world.db, connection_id)
    assert loaded is not None
    assert loaded.high_water is not None
    assert loaded.high_water <= datetime.now(UTC)
    world.cloud.state.cloud.clear_faults()
    await world.sync(connection_id)
    assert world.sql(STORED, world.person_id) == await world.truth()
