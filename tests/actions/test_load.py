"""What Prometheus is told: of the database, whoever is asked; cheap however often; and still something without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from budget_world import PLENTY, set_faults, worker_of
from exposition import Samples, one, read
from sync_world import World

from evercgm.actions.load import FAMILIES, LOOK_EVERY_S, Gauges
from evercgm.core import limits
from evercgm.storage.database import Connection, Database

PLACE = {"provider": "dexcom", "region": "us"}


async def told(world: World, vendors: Any = None) -> Samples:
    families, samples = read(await Gauges(world.db, vendors or world.vendors).exposition())
    assert list(families) == [family.name for family in FAMILIES]
    return samples


async def test_a_fresh_service_tells_zeros_and_a_full_budget(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        samples = await told(world, worker.vendors)

    assert one(samples, "evercgm_database_up") == 1
    assert one(samples, "evercgm_due_connections") == 0
    assert one(samples, "evercgm_sync_lag_seconds") == 0
    assert one(samples, "evercgm_oldest_job_seconds", state="waiting") == 0
    assert one(samples, "evercgm_oldest_job_seconds", state="running") == 0
    assert one(samples, "evercgm_vendor_calls_limit", **PLACE) == 60_000
    assert one(samples, "evercgm_vendor_calls_left", **PLACE, caller="background") == 54_000
    assert one(samples, "evercgm_vendor_calls_left", **PLACE, caller="person") == 60_000
    assert one(samples, "evercgm_vendor_pause_seconds", **PLACE) == 0
    assert one(samples, "evercgm_vendor_circuit", **PLACE, state="closed") == 1


async def test_what_is_due_and_what_waits_is_told_with_its_age(world: World) -> None:
    await world.connect()
    world.sql("update cgm_private.sync_state set next_sync_at = now() - interval '700 seconds'")
    world.sql("update cgm_jobs.pgqueuer set execute_after = now() - interval '50 seconds'")
    samples = await told(world)
    world.sql("update cgm_jobs.pgqueuer set status = 'picked', created = now() - interval '90 seconds'")
    picked = await told(world)

    assert one(samples, "evercgm_due_connections") == 1
    assert 700 <= (one(samples, "evercgm_sync_lag_seconds") or 0) < 720
    assert 50 <= (one(samples, "evercgm_oldest_job_seconds", state="waiting") or 0) < 70
    assert one(picked, "evercgm_oldest_job_seconds", state="waiting") == 0
    assert 90 <= (one(picked, "evercgm_oldest_job_seconds", state="running") or 0) < 110


async def test_what_rests_is_not_due(world: World) -> None:
    connection_id = await world.connect()
    world.sql("update cgm_private.sync_state set next_sync_at = now() - interval '1 day'")
    for status in ("disconnected", "expired"):
        world.sql("update public.cgm_connections set status = %s where id = %s", status, connection_id)
        assert one(await told(world), "evercgm_due_connections") == 0


@pytest.mark.parametrize(
    ("change", "state", "seconds"),
    [("", "open", 600), ("until = now()", "half_open", 0), ("over = true", "closed", 0)],
)
async def test_the_state_of_a_pause_and_the_calls_made_are_told(
    world: World, database: Any, change: str, state: str, seconds: float
) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        await worker.get()
        await set_faults(world, rate_limited="600")
        await worker.get()
        if change:
            world.sql(f"update cgm_private.provider_pauses set {change}")
        samples = await told(world, worker.vendors)

    assert one(samples, "evercgm_vendor_circuit", **PLACE, state=state) == 1
    assert (
        sum(one(samples, "evercgm_vendor_circuit", **PLACE, state=s) or 0 for s in ("open", "closed", "half_open")) == 1
    )
    assert seconds - 20 <= (one(samples, "evercgm_vendor_pause_seconds", **PLACE) or 0) <= seconds
    assert one(samples, "evercgm_vendor_calls_left", **PLACE, caller="person") == 59_998
    assert one(samples, "evercgm_vendor_calls_total", **PLACE, answer="401") == 1
    assert one(samples, "evercgm_vendor_calls_total", **PLACE, answer="429") == 1


async def test_syncs_refreshes_and_readings_are_counted_where_they_happen(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as worker:
        await worker.sync(connection_id)
        world.expire_access_token(connection_id)
        await set_faults(world, future_time=48)
        await worker.sync(connection_id)
        await set_faults(world, html=True)
        await worker.sync(connection_id)
        samples = await told(world, worker.vendors)

    stored = world.sql("select count(*) from public.glucose_readings")[0][0]
    assert one(samples, "evercgm_syncs_total", **PLACE, outcome="succeeded", reason="") in (1, 2)
    assert one(samples, "evercgm_syncs_total", **PLACE, outcome="failed", reason="vendor_changed") == 1
    assert one(samples, "evercgm_token_refreshes_total", **PLACE, result="renewed") == 1
    assert (one(samples, "evercgm_readings_stored_total", **PLACE) or 0) >= stored
    assert (one(samples, "evercgm_rejected_records_total", **PLACE) or 0) >= 1
    assert (one(samples, "evercgm_last_sync_timestamp_seconds", **PLACE) or 0) > 1_700_000_000


async def test_no_sample_names_a_person_a_connection_or_a_token(world: World, database: Any) -> None:
    connection_id = await world.connect()
    async with worker_of(world, database.service_dsn) as worker:
        await worker.sync(connection_id)
        text = await Gauges(world.db, worker.vendors).exposition()

    for hidden in (connection_id, world.person_id, world.caller.owner_id, "User7", "client-secret"):
        assert hidden not in text


class Counting(Database):
    """Counts transactions."""

    def __init__(self, inner: Database):
        super().__init__(inner._pool, inner.vault)
        self.transactions = 0

    @asynccontextmanager
    async def as_worker(self) -> AsyncIterator[Connection]:
        self.transactions += 1
        async with super().as_worker() as conn:
            yield conn


async def test_a_storm_of_scrapes_is_one_look_in_ten_seconds(world: World) -> None:
    now = 0.0
    db = Counting(world.db)
    asked = Gauges(db, world.vendors, clock=lambda: now)
    texts = await asyncio.gather(*(asked.exposition() for _ in range(500)))
    await world.connect()
    world.sql("update cgm_private.sync_state set next_sync_at = now() - interval '1 minute'")
    now = LOOK_EVERY_S - 0.1
    texts += await asyncio.gather(*(asked.exposition() for _ in range(500)))
    assert db.transactions == 1
    now = LOOK_EVERY_S
    later = await asked.exposition()

    assert len(set(texts)) == 1
    assert one(read(texts[0])[1], "evercgm_due_connections") == 0
    assert one(read(later)[1], "evercgm_due_connections") == 1
    assert db.transactions == 2


async def test_without_the_database_the_counters_are_still_told(world: World, database: Any) -> None:
    async with worker_of(world, database.service_dsn) as worker:
        await worker.get()
        world.sql("alter table cgm_private.sync_state rename to elsewhere")
        families, samples = read(await Gauges(worker.db, worker.vendors).exposition())

    assert len(families) == len(FAMILIES)
    assert one(samples, "evercgm_database_up") == 0
    assert one(samples, "evercgm_due_connections") is None
    assert one(samples, "evercgm_vendor_calls_total", **PLACE, answer="401") == 1


def test_a_minute_of_old_calls_more_than_an_hour_is_counted() -> None:
    assert limits.COUNTED_FOR - timedelta(hours=1) >= limits.BLOCK_LASTS + timedelta(minutes=1)
    assert PLENTY.most("person") == 60_000
