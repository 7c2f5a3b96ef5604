"""Guards of a sync that only odd days show: windows that may not be believed, and runs of somebody else's."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sync_world import World

from evercgm.actions.endings import Result
from evercgm.actions.sync import sync_connection
from evercgm.actions.windows import hides_readings, none_readable
from evercgm.core.reading import Batch, Reading, Rejected
from evercgm.core.sync import Window
from evercgm.provider_kit.contract import Survey
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import runs
from evercgm.storage.readings import ENOUGH_TRIES

DAYS = 100
WINDOWS = 4
EVERY = timedelta(hours=6)
EMPTY = Batch((), (), None)
HISTORY_DONE = "select history_done_at is not null from cgm_private.sync_state where connection_id = %s"
Spoil = Callable[[int, Batch], Batch]


def honest(_call: int, batch: Batch) -> Batch:
    return batch


@dataclass
class Shelf:
    """A vendor of a hundred days, four windows long; ``spoil`` changes an answer by the number of its call, from 0."""

    spoil: Spoil = honest
    calls: list[Window] = field(default_factory=list)
    surveys: int = 0
    readings: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
        count = timedelta(days=DAYS) // EVERY
        self.readings = [Reading(f"r-{n}", first + n * EVERY, 80 + n % 200) for n in range(count)]

    def beside(self, world: World) -> Vendors:
        """The world's vendors with this one in the place of the cloud's data."""
        provider = replace(world.vendors.providers["dexcom"], survey=self._survey, read=self._read)
        return replace(world.vendors, providers={"dexcom": provider})

    async def sync(self, world: World, connection_id: str) -> Result:
        self.calls.clear()
        result = await sync_connection(world.db, self.beside(world), connection_id, trigger="command")
        assert result is not None
        return result

    async def _survey(self, *_: Any) -> Survey:
        self.surveys += 1
        return Survey(None, self.readings[0].measured_at, self.readings[-1].measured_at, None)

    async def _read(self, *called: Any) -> Batch:
        window: Window = called[-1]
        self.calls.append(window)
        found = tuple(one for one in self.readings if window.start <= one.measured_at < window.end)
        return self.spoil(len(self.calls) - 1, Batch(found, (), None))

    def is_stored(self, world: World) -> bool:
        query = 'select "timestamp", value from public.glucose_readings where person_id = %s order by 1'
        held = [(one.measured_at.replace(tzinfo=None), one.glucose_mg_dl) for one in self.readings]
        return world.sql(query, world.person_id) == held


def unread(batch: Batch, reason: str = "unknown_unit", spoilt: Reading | None = None) -> Batch:
    """The answer with one reading (the middle one, if not said) as a record that cannot be read."""
    spoilt = spoilt or batch.readings[len(batch.readings) // 2]
    rest = tuple(one for one in batch.readings if one != spoilt)
    return replace(batch, readings=rest, rejected=(Rejected(spoilt.record_key, reason),))


@pytest.mark.parametrize("place", range(WINDOWS))
async def test_a_window_that_comes_empty_by_mistake_is_asked_for_again_at_once(world: World, place: int) -> None:
    connection_id = await world.connect()
    shelf = Shelf(lambda call, batch: EMPTY if call == place else batch)

    result = await shelf.sync(world, connection_id)

    assert result.outcome == "succeeded"
    assert len(shelf.calls) == WINDOWS + 1
    assert shelf.calls[place] == shelf.calls[place + 1]
    assert shelf.is_stored(world)


async def test_a_month_that_is_empty_twice_is_believed(world: World) -> None:
    connection_id = await world.connect()
    shelf = Shelf()
    gap = shelf.readings[-1].measured_at - timedelta(days=80), shelf.readings[-1].measured_at - timedelta(days=20)
    shelf.readings = [one for one in shelf.readings if not gap[0] <= one.measured_at < gap[1]]

    result = await shelf.sync(world, connection_id)

    assert result.outcome == "succeeded"
    assert shelf.is_stored(world)
    assert world.sql(HISTORY_DONE, connection_id) == [(True,)]


async def test_the_oldest_readings_are_not_lost_though_the_vendor_hides_them_at_first(world: World) -> None:
    connection_id = await world.connect()
    shelf = Shelf(lambda call, batch: EMPTY if call >= WINDOWS - 1 else batch)

    for _ in range(3):
        hidden = await shelf.sync(world, connection_id)
        assert (hidden.reason, world.status(connection_id)[0]) == ("vendor_unavailable", "connected")
        shelf.spoil = lambda _call, batch: EMPTY if shelf.readings[0] in batch.readings else batch
    shelf.spoil = honest
    await shelf.sync(world, connection_id)

    assert world.status(connection_id) == ("connected", None)
    assert shelf.is_stored(world)


@pytest.mark.parametrize("reason", ["unknown_unit", "bad_time", "unreadable"])
@pytest.mark.parametrize("place", range(WINDOWS))
async def test_a_record_that_cannot_be_read_today_is_asked_for_again_and_stored(
    world: World, place: int, reason: str
) -> None:
    connection_id = await world.connect()
    shelf = Shelf(lambda call, batch: unread(batch, reason) if call == place else batch)

    first = await shelf.sync(world, connection_id)

    assert (first.outcome, first.saved.rejected) == ("succeeded", 1)
    assert not shelf.is_stored(world)
    assert world.sql(HISTORY_DONE, connection_id) == [(False,)]
    shelf.spoil = honest
    await shelf.sync(world, connection_id)
    assert shelf.is_stored(world)
    assert world.sql(HISTORY_DONE, connection_id) == [(True,)]


@pytest.mark.parametrize("place", [0, 1])
async def test_a_record_that_cannot_be_read_holds_the_cursor_of_what_is_new_as_well(world: World, place: int) -> None:
    connection_id = await world.connect()
    shelf = Shelf()
    shelf.readings, late = shelf.readings[:-160], shelf.readings[-160:]
    await shelf.sync(world, connection_id)
    assert world.sql(HISTORY_DONE, connection_id) == [(True,)]

    shelf.readings += late
    shelf.spoil = lambda call, batch: unread(batch) if call == place else batch
    await shelf.sync(world, connection_id)
    assert len(shelf.calls) == 2
    assert not shelf.is_stored(world)
    shelf.spoil = honest
    await shelf.sync(world, connection_id)

    assert shelf.is_stored(world)


@pytest.mark.parametrize("with_present_value", [False, True])
async def test_a_record_that_never_can_be_read_does_not_hold_the_history_up_for_ever(
    world: World, with_present_value: bool
) -> None:
    connection_id = await world.connect()
    shelf = Shelf()
    spoilt = shelf.readings[200]
    present = Reading("live:1", shelf.readings[-1].measured_at + timedelta(hours=1), 100)
    live = (present,) if with_present_value else ()
    shelf.spoil = lambda _call, batch: (
        unread(replace(batch, live=live), spoilt=spoilt) if spoilt in batch.readings else batch
    )
    done = []

    for _ in range(ENOUGH_TRIES):
        await shelf.sync(world, connection_id)
        done.append(world.sql(HISTORY_DONE, connection_id)[0][0])

    assert done == [False] * (ENOUGH_TRIES - 1) + [True]


JUNE = Window(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
MAY, MIDST, AUGUST = (datetime(2026, month, 15, tzinfo=UTC) for month in (5, 6, 8))
READ = Batch((Reading("r", MIDST, 100),), (), None)
ASIDE = Batch((), (Rejected("r", "no_value"),), None)


@pytest.mark.parametrize(
    ("first", "last", "batch", "hidden"),
    [
        (MIDST, AUGUST, EMPTY, True),
        (MAY, MIDST, EMPTY, True),
        (None, MIDST, EMPTY, True),
        (MIDST, None, EMPTY, True),
        (JUNE.start, AUGUST, EMPTY, True),
        (MAY, JUNE.end, EMPTY, False),
        (MAY, AUGUST, EMPTY, False),
        (None, None, EMPTY, False),
        (MIDST, AUGUST, READ, False),
        # A sensor at rest: the present value, and no history any more.
        (MAY, MIDST, Batch((), (), None, READ.readings), False),
        # The vendor has shown what it has: that it is no glucose is another matter.
        (MIDST, AUGUST, ASIDE, False),
    ],
)
def test_a_window_hides_readings_where_the_first_or_last_should_be_in_it_and_nothing_is(
    first: datetime | None, last: datetime | None, batch: Batch, hidden: bool
) -> None:
    assert hidden == hides_readings(JUNE, batch, Survey(None, first, last, None))


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["unreadable", "bad_time", "unknown_unit"], True),
        (["unreadable", "no_value"], False),
        (["sensor_error"], False),
        ([], False),
    ],
)
def test_an_answer_is_unknown_to_us_where_no_record_could_be_read(reasons: list[str], expected: bool) -> None:
    aside = tuple(Rejected(f"r-{n}", reason) for n, reason in enumerate(reasons))

    assert expected == none_readable(Batch((), aside, None))
    assert not none_readable(replace(READ, rejected=aside))


async def test_a_sync_that_refreshes_while_its_person_reconnects_asks_nothing_more(world: World) -> None:
    connection_id = await world.connect()
    world.expire_access_token(connection_id)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(path: str) -> None:
        if path == "token" and not reached.is_set():
            reached.set()
            await go_on.wait()

    world.weather.pause = pause
    syncing = asyncio.create_task(world.sync(connection_id))
    await reached.wait()
    await world.connect()
    pair = "select access_token, refresh_token from public.cgm_connections"
    fresh = world.sql(pair)
    world.weather.calls.clear()
    go_on.set()
    result = await syncing

    assert result is not None
    assert result.outcome == "cancelled"
    assert world.weather.calls == []
    assert world.sql(pair) == fresh
    assert world.status(connection_id) == ("connected", None)
    again = await world.sync(connection_id)
    assert again is not None
    assert again.outcome == "succeeded"


async def somebody_is_at_it(world: World, connection_id: str, job_id: int | None) -> runs.Run:
    """A run that another process has started: a job of the engine's, or a command."""
    async with world.db.as_worker() as conn:
        run = await runs.open_run(conn, connection_id)
        assert run is not None
        started = await runs.start(conn, run, job_id)
    assert started is not None
    assert started.starts == 1
    return started


def runs_of(world: World) -> list[tuple[Any, ...]]:
    """State, starts and job of each run, in order."""
    return world.sql("select state, starts, job_id from cgm_private.sync_runs order by requested_at")


async def job(world: World, connection_id: str, job_id: int = 7) -> Result | None:
    return await sync_connection(world.db, world.vendors, connection_id, trigger="schedule", job_id=job_id)


async def test_a_job_leaves_a_run_alone_that_a_command_carries_out(world: World) -> None:
    connection_id = await world.connect()
    await somebody_is_at_it(world, connection_id, None)
    world.weather.calls.clear()

    assert await job(world, connection_id) is None

    assert runs_of(world) == [("running", 1, None)]
    assert world.weather.calls == []


async def test_a_job_takes_over_the_run_of_a_worker_that_died(world: World) -> None:
    connection_id = await world.connect()
    await somebody_is_at_it(world, connection_id, 6)

    result = await job(world, connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert runs_of(world) == [("done", 2, 7)]


async def test_a_job_takes_over_the_run_of_a_command_that_died_ten_minutes_ago(world: World) -> None:
    connection_id = await world.connect()
    await somebody_is_at_it(world, connection_id, None)
    world.sql("update cgm_private.sync_runs set started_at = now() - interval '10 minutes'")

    result = await job(world, connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert runs_of(world) == [("done", 2, 7)]


@pytest.mark.parametrize("job_id", [6, None])
async def test_a_command_waits_for_the_run_of_another_process_and_then_reads_its_own_window(
    world: World, job_id: int | None
) -> None:
    connection_id = await world.connect()
    other = await somebody_is_at_it(world, connection_id, job_id)
    start = datetime.now(UTC) - timedelta(days=2)

    commanded = asyncio.create_task(world.sync(connection_id, window=(start, None)))
    done, _pending = await asyncio.wait([commanded], timeout=1)
    assert done == set()
    assert runs_of(world) == [("running", 1, job_id)]
    async with world.db.as_worker() as conn:
        await runs.finish(conn, other, "succeeded")
    result = await commanded

    assert result is not None
    assert result.outcome == "succeeded"
    windows = world.sql("select starts, window_from from cgm_private.sync_runs order by requested_at")
    assert windows == [(1, None), (1, start)]


async def test_two_commands_at_once_sync_one_after_the_other(world: World) -> None:
    connection_id = await world.connect()
    await world.sync(connection_id)
    under_way = {"now": 0, "most": 0}

    async def pause(path: str) -> None:
        under_way["now"] += path == "egvs"
        under_way["most"] = max(under_way["most"], under_way["now"])
        await asyncio.sleep(0.05)
        under_way["now"] -= path == "egvs"

    world.weather.pause = pause
    results = await asyncio.gather(*(world.sync(connection_id) for _ in range(2)))

    assert [result and result.reason for result in results] == [None, None]
    assert under_way["most"] == 1
    assert [(state, starts) for state, starts, _job in runs_of(world)] == [("done", 1)] * 3
