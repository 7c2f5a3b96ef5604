"""Two versions at once: what a newer one has made is read as far as it is known, and else left to those who know it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from pgqueuer.models import Job
from sync_world import World
from test_stopping import ENDS, JOBS, RUNS
from worker_world import runtime_of, until, working

from evercgm.core import counts
from evercgm.core.errors import NewerVersion
from evercgm.storage import connections, jobs, readiness
from evercgm.worker.run import BECOME_WORKER, MOST_ATTEMPTS
from evercgm.worker.schedule import enqueue_due

FROM_A_NEWER_ONE = """
insert into cgm_jobs.pgqueuer (priority, status, entrypoint, dedupe_key, payload, headers)
values (20, 'queued', %s, %s, convert_to(%s, 'UTF8'), '{"trace": "as a newer version hands it on"}')
"""
STATE = """select c.status::text, c.error_message, s.reason, s.failure_count, s.next_sync_at <= now()
           from public.cgm_connections c join cgm_private.sync_state s on s.connection_id = c.id"""
STORED = 'select "timestamp", value from public.glucose_readings order by 1'


async def test_what_a_newer_version_says_more_in_a_job_does_not_hinder_it(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_jobs.pgqueuer")
    more = f'{{"connection_id": "{connection_id}", "depth": 3, "why": {{"asked": true}}}}'
    world.sql(FROM_A_NEWER_ONE, jobs.SYNC, f"sync:{connection_id}", more)

    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(JOBS) == [], "the job has ended")

    assert world.sql(RUNS) == [("done", 1, "succeeded")]


async def test_a_job_of_an_unknown_kind_waits_for_those_who_know_it(world: World, database: Any) -> None:
    await world.connect()
    world.sql(FROM_A_NEWER_ONE, "sync_by_moonlight", None, "{}")
    async with working(await runtime_of(world), database.service_dsn):
        await until(lambda: world.sql(RUNS) == [("done", 1, "succeeded")], "the others go on")
        await until(lambda: len(world.sql(JOBS)) == 1, "their job has ended")

        assert world.sql("select entrypoint, status::text, attempts from cgm_jobs.pgqueuer") == [
            ("sync_by_moonlight", "queued", 0)
        ]
        assert await taken_by_a_newer_worker(database, "sync_by_moonlight") == [b"{}"]

    assert world.sql(JOBS) == []


async def taken_by_a_newer_worker(database: Any, kind: str) -> list[bytes | None]:
    """A worker of a version that knows this kind, beside ours."""
    seen: list[bytes | None] = []
    async with await psycopg.AsyncConnection.connect(
        database.service_dsn, autocommit=True, options=BECOME_WORKER
    ) as conn:
        queue = jobs.engine(conn)

        @queue.entrypoint(kind)
        async def known(job: Job) -> None:
            seen.append(job.payload)
            queue.shutdown.set()

        await asyncio.wait_for(queue.run(batch_size=1, max_concurrent_tasks=2), 60)
    return seen


async def test_a_job_of_another_form_is_left_to_others_and_then_gives_way(world: World, database: Any) -> None:
    connection_id = await world.connect()
    world.sql("delete from cgm_jobs.pgqueuer")
    world.sql(FROM_A_NEWER_ONE, jobs.SYNC, f"sync:{connection_id}", '{"connections": ["another form"]}')
    runtime = await runtime_of(world)
    async with working(runtime, database.service_dsn):
        await until(lambda: world.sql(JOBS) == [("queued", 1, True)], "it is put back")
        assert world.sql("select execute_after > now() from cgm_jobs.pgqueuer") == [(True,)]
        assert world.sql(ENDS) == []

        # Nobody was there who knows it: it must not keep its connection from being synced for ever.
        world.sql("update cgm_jobs.pgqueuer set execute_after = now(), attempts = %s", MOST_ATTEMPTS)
        await until(lambda: world.sql(RUNS)[-1][0] == "done", "its connection is synced all the same")

    assert world.sql(RUNS) == [("done", 1, "succeeded")]
    assert runtime.vendors.counts.of(counts.JOBS_FAILED) == 1


@pytest.fixture
async def connected_by_a_newer_version(world: World) -> str:
    """A person's connection at a vendor that this version does not know, and due."""
    connection_id = await world.connect()
    await world.sync(connection_id)
    world.sql("update public.cgm_connections set provider = 'abbott'")
    world.sql("update cgm_private.sync_state set next_sync_at = now()")
    world.sql("delete from cgm_private.sync_runs")
    world.sql("delete from cgm_jobs.pgqueuer")
    return connection_id


async def test_a_connection_at_a_vendor_that_only_a_newer_version_knows_is_left_as_it_is(
    world: World, database: Any, connected_by_a_newer_version: str
) -> None:
    before = world.sql(STATE)
    await enqueue_due(world.db)
    runtime = await runtime_of(world)
    async with working(runtime, database.service_dsn):
        await until(lambda: world.sql(JOBS) == [("queued", 1, True)], "it is put back")

    assert world.sql(RUNS) == []
    assert world.sql(STATE) == before == [("connected", None, None, 0, True)]
    assert runtime.vendors.counts.of(counts.JOBS_FAILED) == 0
    with pytest.raises(NewerVersion, match="abbott"):
        await world.sync(connected_by_a_newer_version)


# As an expanding migration leaves every table: a column more that may be empty, one that has a default, and its index.
ONE_STEP_AHEAD = """
do $$
declare
  t record;
begin
  for t in
    select c.oid::regclass as name
      from pg_catalog.pg_class c
     where c.relkind = 'r'
       and (c.relnamespace in ('cgm_private'::regnamespace, 'cgm_jobs'::regnamespace)
            or c.oid in ('public.cgm_connections'::regclass, 'public.glucose_readings'::regclass))
  loop
    execute format('alter table %%s add column new_of_next text', t.name);
    execute format('alter table %%s add column counted_by_next integer not null default 0', t.name);
    execute format('create index on %%s (new_of_next)', t.name);
  end loop;
end
$$;
insert into supabase_migrations.schema_migrations (version, name) values ('20991231000001', 'next');
"""


async def test_a_worker_goes_on_over_a_schema_that_is_one_migration_ahead(world: World, database: Any) -> None:
    async with AsyncExitStack() as at_work:
        await at_work.enter_async_context(working(await runtime_of(world), database.service_dsn))
        world.sql(ONE_STEP_AHEAD)
        connection_id = await world.connect()
        await until(lambda: world.sql(RUNS) == [("done", 1, "succeeded")], "its history is stored")
        world.expire_access_token(connection_id)
        world.sql("update cgm_private.sync_state set next_sync_at = now()")
        await until(lambda: world.token_calls("refresh_token") == 1, "its token is refreshed")
        await until(lambda: world.sql("select 1 from cgm_jobs.pgqueuer") == [], "nothing waits")
        async with world.db.as_worker() as conn:
            assert await connections.due(conn, 10) == ([], [])

    async with working(await runtime_of(world), database.service_dsn):
        world.sql("update cgm_private.sync_state set next_sync_at = now()")
        await until(lambda: not world.sql("select 1 from cgm_private.sync_state where next_sync_at <= now()"), "again")
    assert world.status(connection_id) == ("connected", None)
    assert world.sql(STORED) == await world.truth()
    assert await readiness.check(world.db) == {"database": "ok", "migrations": "ok", "key": "ok"}
