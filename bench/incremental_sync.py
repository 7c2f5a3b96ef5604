"""Bar 2: 288 readings read again and one new, against the same GET, decode, one commit, 289 rows by UNNEST."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import psycopg
from pgqueuer.models import Job

from bench import records
from bench.history_sync import Answer
from bench.kit import Bar, Bench, Person, Spent, add_person, measured, ms, open_bench, ratio_of, vendor
from evercgm.actions.sync import sync_connection
from evercgm.core.sync import CLOCK_ALLOWANCE, Window
from evercgm.storage import jobs
from evercgm.storage.database import Connection, Database
from evercgm.storage.embedded import Embedded

ROUNDS = 40
JOBS = 500
REACH, MOST_COMMITS = 3.0, 4
# What is there after each round but the 288 is taken away again.
_FORGET = {
    "newest": 'delete from public.glucose_readings where person_id = %(person)s and "timestamp" > %(until)s',
    "cursor": "update public.cgm_connections set sync_cursor = %(cursor)s where id = %(connection)s",
}
_UPSERT = """
insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
select i.id, %s, i.measured_at at time zone 'UTC', i.val, 'cgm', %s
from unnest(%s::text[], %s::timestamptz[], %s::float8[]) as i (id, measured_at, val)
on conflict (id) do nothing
"""


class Counting(Database):
    """Counts transactions, and those among them that wrote."""

    def __init__(self, inner: Database):
        super().__init__(inner._pool, inner.vault)
        self.transactions = 0
        self.wrote = 0

    @asynccontextmanager
    async def as_worker(self) -> AsyncIterator[Connection]:
        async with super().as_worker() as conn:
            yield conn
            row = await (await conn.execute("select pg_current_xact_id_if_assigned() is not null as wrote")).fetchone()
            self.transactions += 1
            self.wrote += bool(row and row["wrote"])


async def run(server: Embedded) -> list[Bar]:
    """Two persons with the same day; ours, plain, ours, plain; the new reading is forgotten after each round."""
    now = datetime.now(UTC).replace(microsecond=0)
    found = records.records(now - timedelta(hours=24, minutes=1), 289)
    high_water = datetime.fromisoformat(str(found[287]["systemTime"]))
    window = Window(high_water - timedelta(hours=24), now + CLOCK_ALLOWANCE)
    first = Window(datetime.fromisoformat(str(found[0]["systemTime"])), high_water + CLOCK_ALLOWANCE)
    answers = {
        ("egvs", urlencode(records.asked(first))): records.egvs(found[:288]),
        ("egvs", urlencode(records.asked(window))): records.egvs(found),
        ("dataRange", ""): records.data_range(found[:288]),
        ("devices", ""): records.devices(),
    }
    with vendor(answers) as base_url:
        async with open_bench(server, base_url) as bench:
            return [await _rounds(bench, now, high_water, window)]


async def _rounds(bench: Bench, now: datetime, high_water: datetime, window: Window) -> Bar:
    own, other = await add_person(bench), await add_person(bench)
    await sync_connection(bench.db, bench.vendors, own.connection_id, trigger="connect", clock=lambda: high_water)
    await _plain(bench, other, window)
    ours: list[Spent] = []
    plain: list[Spent] = []
    async with await psycopg.AsyncConnection.connect(bench.server.superuser_dsn, autocommit=True) as admin:
        cursor = await _cursor(admin, own)
        for _ in range(ROUNDS + 3):
            for person in (own, other):
                await _forget(admin, person, high_water, cursor)
            ours.append(await _ours(bench, bench.db, own, now))
            plain.append(await _plain(bench, other, window))
        await _forget(admin, own, high_water, cursor)
        counting = Counting(bench.db)
        await _ours(bench, counting, own, now)
    return _bar(ours[3:], plain[3:], counting, await _engine_s(bench))


async def _cursor(admin: Any, person: Person) -> str:
    row = await (
        await admin.execute("select sync_cursor from public.cgm_connections where id = %s", (person.connection_id,))
    ).fetchone()
    return str(row[0])


async def _forget(admin: Any, person: Person, until: datetime, cursor: str) -> None:
    values = {
        "person": person.person_id,
        "connection": person.connection_id,
        "until": until.replace(tzinfo=None),
        "cursor": cursor,
    }
    for statement in _FORGET.values():
        await admin.execute(statement, values)


async def _ours(bench: Bench, db: Database, person: Person, now: datetime) -> Spent:
    async with measured(bench) as spent:
        result = await sync_connection(db, bench.vendors, person.connection_id, trigger="schedule", clock=lambda: now)
    assert result is not None
    assert (result.saved.fetched, result.saved.inserted) == (289, 1), result
    return spent


async def _plain(bench: Bench, person: Person, window: Window) -> Spent:
    async with measured(bench) as spent:
        found = msgspec.json.decode(await bench.get("egvs", records.asked(window)), type=Answer).records
        async with bench.plain.transaction():
            await bench.plain.execute(
                _UPSERT,
                (
                    *(person.person_id, person.connection_id),
                    [f"{person.person_id}:{one.recordId}" for one in found],
                    [one.systemTime for one in found],
                    [one.value for one in found],
                ),
            )
    return spent


async def _engine_s(bench: Bench) -> float:
    """Seconds a job of the job engine, with nothing in it: put in (all in one call), and taken one after another."""
    began: list[float] = []
    async with await psycopg.AsyncConnection.connect(
        bench.server.service_dsn, autocommit=True, options="-c role=cgm_worker"
    ) as conn:
        queue = jobs.engine(conn)

        @queue.entrypoint(jobs.SYNC)
        async def nothing(_job: Job) -> None:
            began.append(time.perf_counter())
            if len(began) == JOBS:
                queue.shutdown.set()

        put_in = time.perf_counter()
        async with bench.db.as_worker() as own:
            await jobs.enqueue_syncs(own, [f"bench-{n}" for n in range(JOBS)])
        put_in = time.perf_counter() - put_in
        async with asyncio.timeout(30):
            await queue.run(dequeue_timeout=timedelta(seconds=0.2), batch_size=10, max_concurrent_tasks=20)
    return (put_in + began[-1] - began[0]) / JOBS


def _bar(ours: list[Spent], plain: list[Spent], counted: Counting, engine_s: float) -> Bar:
    own, other = [one.wall for one in ours], [one.wall for one in plain]
    ratio = ratio_of(own, other)
    return Bar(
        "incremental sync, 288 again and 1 new, time",
        f"{ms(own):.1f} ms",
        f"{ms(other):.1f} ms",
        f"{ratio:.2f} x, {counted.wrote} commits",
        f"<= {REACH:.0f} x, <= {MOST_COMMITS} commits",
        ratio <= REACH and counted.wrote <= MOST_COMMITS,
        (
            f"the GET in it: {ms([one.get_wall for one in ours]):.1f} against"
            f" {ms([one.get_wall for one in plain]):.1f} ms; client CPU {ms([one.cpu for one in ours]):.1f} against"
            f" {ms([one.cpu for one in plain]):.1f} ms",
            f"{counted.transactions} transactions, {counted.wrote} of them write and are synced to disk",
            f"job engine apart: {engine_s * 1000:.2f} ms a job",
        ),
    )
