"""A 429 pauses its region for every worker, within bounds, and ends with one probe; it is nobody's failure."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from budget_world import Worker, set_faults, worker_of
from structlog.testing import capture_logs
from sync_world import World, hours

from evercgm.actions import connect
from evercgm.actions.request_sync import request_sync
from evercgm.core import counts
from evercgm.core.connection import MESSAGES
from evercgm.core.errors import CallsHeldBack

PAUSE = """select extract(epoch from until - clock_timestamp())::float8, strikes, over
           from cgm_private.provider_pauses where provider = 'dexcom' and region = %s"""
LASTS = """select until between %s::timestamptz + %s and clock_timestamp() + %s
           from cgm_private.provider_pauses where provider = 'dexcom' and region = 'us'"""
END_OF_PAUSE = "update cgm_private.provider_pauses set until = now() - interval '1 second'"


def pause_of(world: World, region: str = "us") -> tuple[float, int, bool] | None:
    """Seconds left, strikes, whether it is over."""
    rows = world.sql(PAUSE, region)
    return rows[0] if rows else None  # type: ignore[return-value]


def now_of(world: World) -> datetime:
    """By the database's clock."""
    ((now,),) = world.sql("select clock_timestamp()")
    assert isinstance(now, datetime)
    return now


def lasts(world: World, since: datetime, at_least: float, at_most: float) -> bool:
    """Whether a pause that has begun since then lasts so many seconds, however much later we look."""
    return world.sql(LASTS, since, timedelta(seconds=at_least), timedelta(seconds=at_most)) == [(True,)]


def in_seconds(number: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=number), usegmt=True)


def calls(world: World) -> int:
    """Vendor calls so far, but those that switch faults."""
    return sum(1 for call in world.weather.calls if call not in ("faults", "truth"))


def next_in(world: World) -> timedelta:
    seconds = world.sql("select extract(epoch from next_sync_at - now())::float8 from cgm_private.sync_state")[0][0]
    return timedelta(seconds=seconds)


async def refused(world: World, worker: Worker, connection_id: str, retry_after: str = "") -> None:
    """One sync that meets a 429."""
    await set_faults(world, rate_limited=retry_after)
    await worker.sync(connection_id)
    await set_faults(world)


@pytest.mark.parametrize(
    ("retry_after", "at_least", "at_most"),
    [
        ("", 60, 60),
        ("0", 30, 30),
        ("-1", 60, 60),
        ("abc", 60, 60),
        ("1.5", 60, 60),
        ("29", 30, 30),
        ("120", 120, 120),
        ("3600", 3600, 3600),
        (str(10**9), 3600, 3600),
        ("9" * 400, 3600, 3600),
        # A date has whole seconds.
        (lambda: in_seconds(300), 298, 300),
        (lambda: in_seconds(-300), 30, 30),
        (lambda: in_seconds(10**7), 3600, 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600, 3600),
        ("Tue, 99 Foo 2026 99:99:99 GMT", 60, 60),
    ],
)
async def test_whatever_retry_after_says_a_pause_lasts_thirty_seconds_to_an_hour(
    world: World, database: Any, retry_after: Any, at_least: float, at_most: float
) -> None:
    since = now_of(world)
    async with worker_of(world, database.service_dsn) as worker:
        await set_faults(world, rate_limited=retry_after() if callable(retry_after) else retry_after)

        assert await worker.get() == 429

    assert lasts(world, since, at_least, at_most)
    _left, strikes, over = pause_of(world) or (0, 0, True)
    assert (strikes, over) == (1, False)


async def test_while_paused_no_worker_calls_and_a_restart_changes_nothing(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as first, worker_of(world, database.service_dsn) as second:
        await refused(world, first, connection_id)
        before = calls(world)
        for worker in (first, second):
            result = await worker.sync(connection_id)
            assert result is not None
            assert (result.outcome, result.reason) == ("failed", "rate_limited")
    async with worker_of(world, database.service_dsn) as restarted:
        await restarted.sync(connection_id)
        with pytest.raises(CallsHeldBack):
            await restarted.get()

    assert calls(world) == before


async def test_a_pause_is_nobodys_failure(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as worker:
        await worker.sync(connection_id)
        await refused(world, worker, connection_id, "600")
        await worker.sync(connection_id)
        await worker.sync(connection_id)

    assert world.status(connection_id) == ("connected", "rate_limited")
    told = world.sql("select error_message from public.cgm_connections")
    assert told == [(MESSAGES["rate_limited"],)]
    # Only the one that the vendor refused counts; the others did not ask it.
    assert world.sql("select failure_count from cgm_private.sync_state") == [(1,)]
    assert hours(0.15) <= next_in(world) <= hours(0.21)
    assert world.sql("select action from cgm_private.audit_events where action <> 'connected'") == []


@pytest.mark.parametrize(
    ("reason", "waits"),
    [
        ("sign_in_refused", hours(8)),
        ("vendor_denied", hours(12)),
        ("operator_must_act", hours(1)),
        ("vendor_changed", None),
    ],
)
async def test_a_pause_makes_no_other_trouble_better_or_worse(
    world: World, database: Any, reason: str, waits: timedelta | None
) -> None:
    connection_id = await world.connect()
    world.sql("update public.cgm_connections set status = 'error'")
    world.sql(
        "update cgm_private.sync_state set reason = %s, failure_count = 3, next_sync_at = now() + %s", reason, waits
    )
    # The pause itself lasts a minute.
    ((not_before,),) = world.sql("select coalesce(next_sync_at, now() + interval '1 min') from cgm_private.sync_state")
    async with worker_of(world, database.service_dsn) as worker:
        await set_faults(world, rate_limited="")
        await worker.get()
        await worker.sync(connection_id, "person")

    assert world.status(connection_id) == ("error", reason)
    assert world.sql("select failure_count from cgm_private.sync_state") == [(3,)]
    ((next_at,),) = world.sql("select next_sync_at from cgm_private.sync_state")
    assert next_at >= not_before - timedelta(seconds=1)


async def test_a_refresh_that_is_held_back_leaves_the_tokens_and_no_deed(world: World, database: Any) -> None:
    connection_id = await world.connect()
    tokens = world.sql("select access_token, refresh_token from public.cgm_connections")
    async with worker_of(world, database.service_dsn) as worker:
        await refused(world, worker, connection_id)
        world.expire_access_token(connection_id)
        await worker.sync(connection_id)
        world.sql(END_OF_PAUSE)
        async with worker_of(world, database.service_dsn) as later:
            result = await later.sync(connection_id)
        assert result is not None
        assert result.outcome == "succeeded"
        assert worker.vendors.counts.of(counts.REFRESHES, "dexcom", "us", "failed") == 0

    assert world.token_calls("refresh_token") == 1
    assert world.sql("select access_token, refresh_token from public.cgm_connections") != tokens
    assert world.reuses() == 0
    assert world.sql("select action from cgm_private.audit_events where action = 'refresh_failed'") == []


async def test_a_429_in_one_region_leaves_the_others_alone(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn, regions={"us": None, "eu": None}) as worker:
        await set_faults(world, rate_limited="")
        assert await worker.get("us") == 429
        await set_faults(world)

        assert await worker.get("eu") == 401
        with pytest.raises(CallsHeldBack):
            await worker.get("us")

    assert pause_of(world, "eu") is None


async def test_many_calls_that_are_refused_at_once_are_one_strike(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        # A process asks for as many calls as it needs: let it need some.
        await asyncio.gather(*(worker.get() for _ in range(12)))
        await set_faults(world, rate_limited="90")
        since = now_of(world)

        answers = await asyncio.gather(*(worker.get() for _ in range(12)), return_exceptions=True)

    assert set(answers) - {429} == {answer for answer in answers if isinstance(answer, CallsHeldBack)}
    _left, strikes, _over = pause_of(world) or (0, 0, True)
    assert strikes == 1
    assert lasts(world, since, 90, 90)


async def test_a_pause_ends_by_a_probe_that_is_answered(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as worker:
        await refused(world, worker, connection_id)
    world.sql(END_OF_PAUSE)

    async with worker_of(world, database.service_dsn) as worker:
        with capture_logs() as logs:
            result = await worker.sync(connection_id)

    assert result is not None
    assert result.outcome == "succeeded"
    assert world.status(connection_id) == ("connected", None)
    assert (pause_of(world) or (0, 0, False))[2] is True
    assert [line["event"] for line in logs if line["event"].startswith("vendor_")] == ["vendor_resumed"]


async def test_while_a_probe_is_under_way_all_others_wait(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as first, worker_of(world, database.service_dsn) as second:
        await set_faults(world, rate_limited="")
        await first.get()
        await set_faults(world)
        world.sql(END_OF_PAUSE)
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def hold(_path: str) -> None:
            arrived.set()
            await go_on.wait()

        world.weather.pause = hold
        probing = asyncio.create_task(second.get())
        await arrived.wait()
        before = calls(world)
        for worker in (first, second):
            with pytest.raises(CallsHeldBack):
                await worker.get()
        assert calls(world) == before
        go_on.set()

        assert await probing == 401
        assert await second.get() == 401


async def test_a_probe_that_is_answered_late_does_not_end_a_pause_that_has_begun_since(
    world: World, database: Any
) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        await set_faults(world, rate_limited="")
        await worker.get()
        await set_faults(world)
    world.sql(END_OF_PAUSE)

    async def meanwhile(_path: str) -> None:
        world.sql("update cgm_private.provider_pauses set until = now() + interval '10 minutes', strikes = 2")

    world.weather.pause = meanwhile
    async with worker_of(world, database.service_dsn) as worker:
        assert await worker.get() == 401

    left, strikes, over = pause_of(world) or (0, 0, True)
    assert (left > 500, strikes, over) == (True, 2, False)


async def test_a_refused_probe_makes_the_pause_longer_each_time_up_to_an_hour(world: World, database: Any) -> None:
    await set_faults(world, rate_limited="")
    for length in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        since = now_of(world)
        async with worker_of(world, database.service_dsn) as worker:
            await worker.get()
        assert lasts(world, since, length, length)
        world.sql(END_OF_PAUSE)


async def test_a_probe_that_gets_no_answer_leaves_the_pause_to_the_next_one(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        await set_faults(world, rate_limited="")
        await worker.get()
        await set_faults(world)
    world.sql(END_OF_PAUSE)
    world.weather.lost.add("dataRange")
    async with worker_of(world, database.service_dsn) as worker:
        with pytest.raises(Exception, match="the line is cut"):
            await worker.get()
        with pytest.raises(CallsHeldBack):
            await worker.get()
    world.weather.lost.clear()
    world.sql("update cgm_private.provider_pauses set probe_until = now()")

    async with worker_of(world, database.service_dsn) as worker:
        assert await worker.get() == 401
    assert (pause_of(world) or (0, 0, False))[2] is True


async def test_a_person_who_asks_during_a_pause_is_told_for_how_long(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_private.sync_runs")
    async with worker_of(world, database.service_dsn) as worker:
        await set_faults(world, rate_limited="600")
        await worker.get()

    with pytest.raises(CallsHeldBack) as asked:
        await request_sync(world.db, world.caller, connection_id=connection_id, person_id=None, start=None, end=None)
    with pytest.raises(CallsHeldBack) as began:
        await connect.begin(
            world.db, world.vendors, world.caller,
            person_id=world.person_id, route="dexcom", region="us", return_to="http://cgm.test/",
        )  # fmt: skip

    assert 500 <= (asked.value.retry_after_s or 0) <= 600
    assert 500 <= (began.value.retry_after_s or 0) <= 600
    assert world.sql("select count(*) from cgm_private.sync_runs") == [(0,)]


async def test_a_sign_in_that_a_429_ends_is_told_so_and_stores_nothing(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        world.vendors = worker.vendors
        world.weather.answers["token"] = (429, b"")

        finished = await world.consent()

    assert (finished.outcome, finished.code) == ("error", "rate_limited")
    assert world.sql("select count(*) from public.cgm_connections") == [(0,)]


async def test_where_a_pause_cannot_be_stored_the_answer_is_not_lost_and_this_process_keeps_it(
    world: World, database: Any
) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        assert await worker.get() == 401
        await set_faults(world, rate_limited="")
        world.sql("alter table cgm_private.provider_pauses rename to elsewhere")

        since = time.monotonic()
        with capture_logs() as logs:
            assert await worker.get() == 429
        with pytest.raises(CallsHeldBack) as held:
            await worker.get()
        passed_s = time.monotonic() - since

    assert 60 - passed_s <= (held.value.retry_after_s or 0) <= 60
    assert [line["event"] for line in logs] == ["pause_not_stored"]


async def test_a_pause_is_logged_once_however_many_connections_wait_for_its_end(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as worker:
        with capture_logs() as logs:
            await refused(world, worker, connection_id, "600")
            for _ in range(3):
                await worker.sync(connection_id)

    (line,) = [line for line in logs if line["log_level"] in ("warning", "error")]
    assert line["event"] == "vendor_paused"
    assert {name: line[name] for name in ("provider", "region", "strikes", "retry_after_s")} == {
        "provider": "dexcom", "region": "us", "strikes": 1, "retry_after_s": 600,
    }  # fmt: skip
    assert worker.vendors.counts.of(counts.CALLS, "dexcom", "us", "429") == 1
    assert worker.vendors.counts.of(counts.HELD_BACK, "dexcom", "us", "paused", "background") == 3
    assert worker.vendors.counts.of(counts.SYNCS, "dexcom", "us", "failed", "rate_limited") == 4
