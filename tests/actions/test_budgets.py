"""The calls of all workers together stay within the budget, and its last part waits for people."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from budget_world import Worker, set_faults, worker_of
from structlog.testing import capture_logs
from sync_world import World

from evercgm.actions.sync import sync_connection
from evercgm.core import counts
from evercgm.core.errors import CallsHeldBack, VendorTryLater
from evercgm.core.limits import FIRST_BLOCK, LARGEST_BLOCK, CallLimits, Urgency
from evercgm.core.tokens import Secret
from evercgm.provider_kit.metered import asked_by
from evercgm.provider_kit.send import send
from evercgm.providers import PROVIDERS
from evercgm.runtime import open_runtime
from evercgm.settings import read_settings
from evercgm.storage.budgets import Budgets
from evercgm.storage.database import open_database

PLACE = ("dexcom", "us")
USED = "select coalesce(sum(calls), 0) from cgm_private.vendor_budgets where region = %s"
AN_HOUR_ON = "update cgm_private.vendor_budgets set window_start = window_start - interval '63 minutes'"


async def call(worker: Worker, caller: Urgency) -> int | str:
    """The status of an answer, or that there was no call."""
    with asked_by(caller):
        try:
            return await worker.get()
        except CallsHeldBack:
            return "held back"


async def call_often(worker: Worker, caller: Urgency, times: int) -> Counter[int | str]:
    """Five at a time, as a worker's jobs do."""
    found: Counter[int | str] = Counter()
    for _ in range(times // 5):
        found.update(await asyncio.gather(*(call(worker, caller) for _ in range(5))))
    return found


def used(world: World, region: str = "us") -> int:
    return int(world.sql(USED, region)[0][0])


async def test_two_workers_together_stay_within_the_budget_and_people_have_their_part(
    world: World, database: Any
) -> None:
    limits = CallLimits(an_hour=80, for_people=0.25)
    # The vendor is the judge: it refuses the 81st call within its hour.
    await set_faults(world, calls_per_hour={"limit": 80})
    async with (
        worker_of(world, database.service_dsn, limits) as one,
        worker_of(world, database.service_dsn, limits) as two,
    ):
        background = sum(await asyncio.gather(*(call_often(w, "background", 60) for w in (one, two))), Counter())
        people = sum(await asyncio.gather(*(call_often(w, "person", 30) for w in (one, two))), Counter())

    assert 429 not in background + people
    assert 55 <= background[401] <= 60
    assert 75 <= background[401] + people[401] <= 80
    assert used(world) <= 80


async def test_of_many_who_take_calls_at_the_same_moment_none_gets_one_too_many(world: World, database: Any) -> None:
    limits = CallLimits(an_hour=37, for_people=0)
    async with (
        open_database(database.service_dsn, world.db.vault, largest=10) as one,
        open_database(database.service_dsn, world.db.vault, largest=10) as two,
    ):
        ledgers = [Budgets(one), Budgets(two)] * 40
        found = await asyncio.gather(*(ledger.take(PLACE, limits, "person", 3, None) for ledger in ledgers))

    assert sum(granted.calls for granted, _ in found) == 37 == used(world)


async def test_a_background_sync_does_not_use_calls_that_a_person_took(world: World, database: Any) -> None:
    limits = CallLimits(an_hour=100, for_people=0.5)
    world.sql("insert into cgm_private.vendor_budgets values ('dexcom', 'us', date_trunc('minute', now()), 50)")
    async with worker_of(world, database.service_dsn, limits) as worker:
        assert await call(worker, "person") == 401
        assert await call(worker, "background") == "held back"
        assert await call(worker, "person") == 401


async def test_calls_that_are_an_hour_old_are_free_again(world: World, database: Any) -> None:
    limits = CallLimits(an_hour=3, for_people=0)
    async with worker_of(world, database.service_dsn, limits) as worker:
        assert (await call_often(worker, "person", 10))[401] == 3
    world.sql(AN_HOUR_ON)

    async with worker_of(world, database.service_dsn, limits) as worker:
        assert (await call_often(worker, "person", 10))[401] == 3
        # What nobody counts any more goes.
    world.sql(AN_HOUR_ON)
    world.sql(AN_HOUR_ON)
    async with worker_of(world, database.service_dsn, limits) as worker:
        await call(worker, "person")
    assert world.sql("select count(*) from cgm_private.vendor_budgets") == [(1,)]


async def test_most_calls_cost_the_database_nothing(world: World, database: Any) -> None:
    # By a clock that stands: on a slow machine a block is over before it is used up.
    async with worker_of(world, database.service_dsn, clock=lambda: 0.0) as worker:
        for _ in range(200):
            await worker.get()

    # 2, 4, 8, 16, then 32 at a time.
    assert worker.ledger.takes <= 10
    assert 200 <= used(world) <= 200 + LARGEST_BLOCK


async def test_what_a_worker_has_taken_and_not_used_goes_back(world: World, database: Any) -> None:
    passed_s = 0.0
    async with worker_of(world, database.service_dsn, clock=lambda: passed_s) as worker:
        for _ in range(15):
            await worker.get()
        assert used(world) > 15
        for _ in range(2):
            passed_s += 2.1
            await worker.get()

    assert 17 <= used(world) <= 19


async def test_a_background_sync_without_budget_waits_and_a_persons_goes_on(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_private.sync_runs")
    limits = CallLimits(an_hour=40, for_people=0.5)
    world.sql("insert into cgm_private.vendor_budgets values ('dexcom', 'us', date_trunc('minute', now()), 20)")
    async with worker_of(world, database.service_dsn, limits) as worker:
        with capture_logs() as logs:
            background = await worker.sync(connection_id)
            assert world.status(connection_id) == ("connected", "rate_limited")
            person = await worker.sync(connection_id, "person")

    assert background is not None
    assert person is not None
    assert (background.outcome, background.reason) == ("failed", "rate_limited")
    assert person.outcome == "succeeded"
    assert world.status(connection_id) == ("connected", None)
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert (line["event"], line["caller"]) == ("calls_used_up", "background")
    assert worker.vendors.counts.of(counts.HELD_BACK, "dexcom", "us", "used_up", "background") == 1


async def test_a_period_that_is_read_again_does_not_use_what_is_kept_for_people(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_private.sync_runs")
    limits = CallLimits(an_hour=40, for_people=0.5)
    world.sql("insert into cgm_private.vendor_budgets values ('dexcom', 'us', date_trunc('minute', now()), 20)")
    async with worker_of(world, database.service_dsn, limits) as worker:
        window = (datetime(2026, 11, 1, tzinfo=UTC), None)
        result = await sync_connection(worker.db, worker.vendors, connection_id, trigger="person", window=window)

    assert result is not None
    assert (result.outcome, result.reason) == ("failed", "rate_limited")


async def test_a_first_sync_after_connecting_uses_what_is_kept_for_people(world: World, database: Any) -> None:
    limits = CallLimits(an_hour=40, for_people=0.5)
    world.sql("insert into cgm_private.vendor_budgets values ('dexcom', 'us', date_trunc('minute', now()), 20)")
    async with worker_of(world, database.service_dsn, limits) as worker:
        world.vendors = worker.vendors
        # The browser's own steps are no calls of ours.
        with asked_by("person"):
            connection_id = await world.connect()

        # As the worker takes it: the run is the one that connecting asked for.
        result = await worker.sync(connection_id, "schedule")

    assert result is not None
    assert result.outcome == "succeeded"


async def test_each_region_has_a_budget_of_its_own(world: World, database: Any) -> None:
    small = CallLimits(an_hour=2, for_people=0)
    async with worker_of(world, database.service_dsn, regions={"us": small, "eu": small}) as worker:
        for _ in range(2):
            await worker.get("us")
        with pytest.raises(CallsHeldBack):
            await worker.get("us")

        assert await worker.get("eu") == 401


async def test_the_service_itself_makes_no_call_past_the_ledger(world: World, database: Any) -> None:
    nowhere = "http://127.0.0.1:1/dexcom"
    env = {
        "ENCRYPTION_KEY": "0123456789abcdef" * 4, "DEXCOM_CLIENT_ID": "client", "DEXCOM_CLIENT_SECRET": "secret",
        "EVERCGM_VENDOR_BASE_URLS": f'{{"dexcom": {{"us": "{nowhere}"}}}}',
    }  # fmt: skip
    async with open_runtime(read_settings(env, simulators=True), Secret(database.service_dsn)) as runtime:
        http = runtime.vendors.client("dexcom", "us")
        with pytest.raises(VendorTryLater):
            await send(http, "GET", f"{nowhere}/data")
        with asked_by("person"), pytest.raises(VendorTryLater):
            await send(http, "GET", f"{nowhere}/data")
        assert used(world) == 2 * FIRST_BLOCK
        assert runtime.vendors.counts.of(counts.CALLS, *PLACE, "none") == 2


def test_dexcoms_limit_is_in_its_record() -> None:
    limits = PROVIDERS["dexcom"].calls

    assert limits is not None
    assert limits.an_hour == 60_000
    assert limits.most("background") == 54_000
    assert limits.most("person") == 60_000
