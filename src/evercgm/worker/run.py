"""The worker: takes jobs from the engine, one action a job, until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
from pgqueuer import PgQueuer
from pgqueuer.models import Job, Schedule

from evercgm.actions.sync import sync_connection
from evercgm.core.counts import JOBS_FAILED
from evercgm.core.tokens import Secret
from evercgm.logs import get_logger
from evercgm.runtime import Runtime
from evercgm.storage import connections, jobs, runs
from evercgm.storage.address import connect
from evercgm.worker.schedule import enqueue_due

log = get_logger(__name__)
# Six fields: the engine reads the seconds from the last one.
EVERY_FIVE_SECONDS = "* * * * * */5"
BECOME_WORKER = "-c role=cgm_worker -c TimeZone=UTC -c DateStyle=ISO"


class JobFailed(Exception):
    """A bug or the loss of the database in a job; bare, because the engine stores what it is given."""


@dataclass(frozen=True, slots=True)
class Pace:
    """``heartbeat_s``: a job whose worker is silent for so long is handed to another one."""

    concurrency: int = 10
    heartbeat_s: float = 30.0


async def work(runtime: Runtime, dsn: Secret, stop: asyncio.Event, pace: Pace) -> None:
    """Run jobs until ``stop`` is set; running jobs are finished first.

    ``dsn``: direct or session-pooled, for LISTEN. Raises psycopg.Error when the database goes.
    """
    async with _connection(dsn) as conn:
        queue = jobs.engine(conn)
        _register(queue, runtime)
        log.info("worker_started", concurrency=pace.concurrency)
        stopper = asyncio.create_task(_pass_on(stop, queue))
        try:
            await queue.run(
                dequeue_timeout=timedelta(seconds=1),
                batch_size=min(10, pace.concurrency),
                max_concurrent_tasks=max(pace.concurrency, 20),
                heartbeat_timeout=timedelta(seconds=pace.heartbeat_s),
                shutdown_on_listener_failure=True,
            )
        finally:
            stopper.cancel()
        log.info("worker_stopped")


@asynccontextmanager
async def _connection(dsn: Secret) -> AsyncIterator[Any]:
    options = {"autocommit": True, "options": BECOME_WORKER, "application_name": "evercgm worker"}
    async with await connect(dsn.reveal(), "WORKER_DATABASE_URL (or DATABASE_URL)", **options) as conn:
        yield conn


async def _pass_on(stop: asyncio.Event, queue: PgQueuer) -> None:
    await stop.wait()
    queue.shutdown.set()


def _register(queue: PgQueuer, runtime: Runtime) -> None:
    @queue.entrypoint(jobs.SYNC)
    async def sync_job(job: Job) -> None:
        await _guarded(runtime, job)

    @queue.schedule("enqueue_due", EVERY_FIVE_SECONDS)
    async def due(_schedule: Schedule) -> None:
        await enqueue_due(runtime.db)


async def _guarded(runtime: Runtime, job: Job) -> None:
    """The door: whatever escapes an action is logged by its class and handed on without a word of it."""
    try:
        wanted = msgspec.json.decode(job.payload or b"", type=jobs.SyncJob)
        await sync_connection(
            runtime.db,
            runtime.vendors,
            wanted.connection_id,
            trigger="schedule",
            job_id=int(job.id),
            others_wait=lambda: jobs.are_waiting(runtime.db),
        )
    except Exception as failure:  # noqa: BLE001 - a door
        log.error("job_failed", job_id=int(job.id), error=type(failure).__name__)
        runtime.vendors.counts.add(JOBS_FAILED)
        await _put_off(runtime, job, failure)
        raise JobFailed from None


async def _put_off(runtime: Runtime, job: Job, failure: Exception) -> None:
    """So that a job with a bug is not due again at the next turn; where the database is lost, nothing to do.

    A run that still waits would make it due whatever the next time says: it ends, unless only the database was away.
    """
    with suppress(msgspec.DecodeError, psycopg.Error):
        wanted = msgspec.json.decode(job.payload or b"", type=jobs.SyncJob)
        async with runtime.db.as_worker() as conn:
            await connections.put_off(conn, wanted.connection_id)
            waiting = await runs.open_run(conn, wanted.connection_id)
            if waiting is not None and waiting.state == "queued" and not isinstance(failure, psycopg.OperationalError):
                await runs.finish(conn, waiting, "failed", "internal_error")
