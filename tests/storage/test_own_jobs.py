"""The job engine, held to jobs that are still its worker's: who was silent for too long has lost them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.ports.repository import EntrypointExecutionParameter

from evercgm.storage import jobs
from evercgm.storage.database import open_database
from evercgm.storage.vault import Vault
from evercgm.worker.run import BECOME_WORKER

ROWS = "select status::text, queue_manager_id, heartbeat from cgm_jobs.pgqueuer"
SILENT = "update cgm_jobs.pgqueuer set heartbeat = now() - interval '1 hour'"


@asynccontextmanager
async def engine(database: Any) -> AsyncIterator[PgQueuer]:
    async with await psycopg.AsyncConnection.connect(
        database.service_dsn, autocommit=True, options=BECOME_WORKER
    ) as conn:
        yield jobs.engine(conn)


async def take(queue: PgQueuer) -> Job:
    (job,) = await queue.qm.queries.dequeue(
        batch_size=1,
        entrypoints={jobs.SYNC: EntrypointExecutionParameter(concurrency_limit=0)},  # type: ignore[dict-item]
        queue_manager_id=queue.qm.queue_manager_id,
        global_concurrency_limit=10,
        heartbeat_timeout=timedelta(seconds=30),
    )
    return job


def sql(database: Any, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as conn:
        cursor = conn.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def enqueue(database: Any) -> None:
    async with open_database(database.service_dsn, Vault(bytes(32)), largest=1) as db, db.as_worker() as conn:
        await jobs.enqueue_syncs(conn, ["one"])


@pytest.mark.parametrize(
    "deed",
    [
        lambda queue, job: queue.qm.queries.log_jobs([(job, "successful", None)]),
        lambda queue, job: queue.qm.queries.log_jobs([(job, "exception", None)]),
        lambda queue, job: queue.qm.queries.retry_job(job, timedelta(0), None),
        lambda queue, job: queue.qm.queries.update_heartbeat([job.id]),
    ],
    ids=["end", "fail", "give back", "keep alive"],
)
async def test_a_worker_can_do_nothing_to_a_job_that_another_one_has_taken_over(
    database: Any, deed: Callable[[PgQueuer, Job], Any]
) -> None:
    await enqueue(database)
    async with engine(database) as silent, engine(database) as other:
        lost = await take(silent)
        sql(database, SILENT)
        assert (await take(other)).id == lost.id
        before = sql(database, ROWS)

        await deed(silent, lost)

        assert sql(database, ROWS) == before
        assert before[0][:2] == ("picked", other.qm.queue_manager_id)


async def test_a_worker_that_was_silent_keeps_a_job_that_nobody_took(database: Any) -> None:
    await enqueue(database)
    async with engine(database) as silent, engine(database) as other:
        job = await take(silent)
        sql(database, SILENT)

        await silent.qm.queries.update_heartbeat([job.id])

        with pytest.raises(ValueError, match="not enough values"):
            await take(other)
        await silent.qm.queries.log_jobs([(job, "successful", None)])
    assert sql(database, ROWS) == []


async def test_whether_a_job_is_still_held_is_told_and_stays_so_for_the_transaction(database: Any) -> None:
    await enqueue(database)
    async with (
        engine(database) as silent,
        engine(database) as other,
        open_database(database.service_dsn, Vault(bytes(32)), largest=1) as db,
    ):
        job = await take(silent)
        sql(database, SILENT)
        async with db.as_worker() as conn:
            assert await jobs.is_held(conn, job)
            with pytest.raises(ValueError, match="not enough values"):
                await take(other)
        await take(other)

        async with db.as_worker() as conn:
            assert not await jobs.is_held(conn, job)
