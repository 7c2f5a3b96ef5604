"""The worker: takes jobs from the engine, one action a job, until it is told to stop."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from pgqueuer import PgQueuer, QueueManager
from pgqueuer.errors import FailingListenerError, RetryRequested
from pgqueuer.models import Job, Schedule

from evercgm.actions.sync import sync_connection
from evercgm.core.counts import JOBS_FAILED
from evercgm.core.errors import NewerVersion, SettingsError
from evercgm.core.tokens import Secret
from evercgm.logs import get_logger
from evercgm.runtime import Runtime
from evercgm.storage import connections, jobs, runs
from evercgm.storage.address import connect
from evercgm.worker.in_hand import GivenBackError, Hands
from evercgm.worker.schedule import enqueue_due

log = get_logger(__name__)
# Six fields: the engine reads the seconds from the last one.
EVERY_FIVE_SECONDS = "* * * * * */5"
BECOME_WORKER = "-c role=cgm_worker -c TimeZone=UTC -c DateStyle=ISO"
LOOK_EVERY = timedelta(seconds=1)
# Places that only those have whom somebody waits for, however much is due.
FOR_PEOPLE = 2
# After the loss of the database; up to twice as long, so that not all workers come back at one moment.
COME_BACK_AFTER_S = 1.0
# What failed for a reason that passes is put back into the queue for so long, and so often at most.
AGAIN_AFTER_DATABASE, AGAIN_FOR_NEWER = timedelta(seconds=5), timedelta(seconds=30)
MOST_ATTEMPTS = 20


class JobFailed(Exception):
    """A bug in a job; bare, because the engine stores what it is given."""


@dataclass(frozen=True, slots=True)
class Pace:
    """``concurrency``: syncs at a time (2 at least), and besides them two that somebody waits for.

    ``heartbeat_s``: a job whose worker is silent for so long is handed to another one. ``finish_within_s``: told to
    stop, it has so long for what is in hand; the rest of its ten seconds is for giving back.
    """

    concurrency: int = 20
    heartbeat_s: float = 30.0
    finish_within_s: float = 5.0


async def work(runtime: Runtime, dsn: Secret, stop: asyncio.Event, pace: Pace) -> None:
    """Run jobs until ``stop`` is set; those in hand then are finished within seconds, or given back.

    ``dsn``: direct or session-pooled, for LISTEN. A database that goes away is waited for; raises SettingsError where
    none is had at the start.
    """
    began = False
    while not stop.is_set():
        try:
            async with _connection(dsn) as conn:
                began = True
                await _work_on(conn, runtime, stop, pace)
        except (psycopg.OperationalError, FailingListenerError, SettingsError) as failure:
            if not began:
                raise
            log.warning("database_lost", error=type(failure).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), COME_BACK_AFTER_S * (1 + random.random()))  # noqa: S311


@asynccontextmanager
async def _connection(dsn: Secret) -> AsyncIterator[Any]:
    options = {"autocommit": True, "options": BECOME_WORKER, "application_name": "evercgm worker"}
    async with await connect(dsn.reveal(), "WORKER_DATABASE_URL (or DATABASE_URL)", **options) as conn:
        yield conn


async def _work_on(conn: Any, runtime: Runtime, stop: asyncio.Event, pace: Pace) -> None:
    """Until we are told to stop. Raises what the engine raises where its connection is lost."""
    queue = jobs.engine(conn)
    lane = jobs.lane_beside(queue)
    hands = Hands()
    _register(queue, lane, runtime, hands)
    log.info("worker_started", concurrency=pace.concurrency)
    heartbeat = timedelta(seconds=pace.heartbeat_s)
    await _together(
        queue.run(
            dequeue_timeout=LOOK_EVERY,
            batch_size=pace.concurrency // 2,
            max_concurrent_tasks=pace.concurrency,
            heartbeat_timeout=heartbeat,
            shutdown_on_listener_failure=True,
        ),
        lane.run(
            dequeue_timeout=LOOK_EVERY,
            batch_size=1,
            max_concurrent_tasks=FOR_PEOPLE,
            heartbeat_timeout=heartbeat,
            log_aggregation_interval=timedelta(0),
        ),
        _end(conn, queue.shutdown, stop, lambda: hands.let_go(pace.finish_within_s)),
    )
    log.info("worker_stopped")


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """All of them; where one fails, the others end, and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(conn: Any, shutdown: asyncio.Event, stop: asyncio.Event, let_go: Callable[[], None]) -> None:
    """Once we are told to stop, or the connection is lost, no job is begun, and those in hand must end soon."""
    while not (stop.is_set() or shutdown.is_set() or conn.closed):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_EVERY.total_seconds())
    shutdown.set()
    let_go()


def _register(queue: PgQueuer, lane: QueueManager, runtime: Runtime, hands: Hands) -> None:
    async def sync_job(job: Job) -> None:
        await _guarded(runtime, hands, job)

    queue.entrypoint(jobs.SYNC)(sync_job)
    queue.entrypoint(jobs.ASKED)(sync_job)
    lane.entrypoint(jobs.ASKED)(sync_job)

    @queue.schedule("enqueue_due", EVERY_FIVE_SECONDS)
    async def due(_schedule: Schedule) -> None:
        await enqueue_due(runtime.db)


async def _guarded(runtime: Runtime, hands: Hands, job: Job) -> None:
    """The door: whatever escapes an action is logged by its class and handed on without a word of it."""
    try:
        await hands.hold(lambda: _sync(runtime, job))
    except GivenBackError:
        raise _put_back(job, "stopping", timedelta(0)) from None
    except Exception as failure:  # noqa: BLE001 - a door
        if job.attempts < MOST_ATTEMPTS:
            if isinstance(failure, psycopg.OperationalError):
                raise _put_back(job, "database", AGAIN_AFTER_DATABASE) from None
            if isinstance(failure, NewerVersion):
                raise _put_back(job, "newer_version", AGAIN_FOR_NEWER) from None
        log.error("job_failed", job_id=int(job.id), error=type(failure).__name__)
        runtime.vendors.counts.add(JOBS_FAILED)
        await _put_off(runtime, job)
        raise JobFailed from None


async def _sync(runtime: Runtime, job: Job) -> None:
    wanted = jobs.read(job)
    await sync_connection(
        runtime.db,
        runtime.vendors,
        wanted.connection_id,
        trigger="schedule",
        job_id=int(job.id),
        others_wait=lambda: jobs.are_waiting(runtime.db),
    )


def _put_back(job: Job, why: str, delay: timedelta) -> RetryRequested:
    """No failure: the job goes back into the queue, for us or for another worker."""
    log.info("job_put_back", job_id=int(job.id), why=why)
    return RetryRequested(delay, why)


async def _put_off(runtime: Runtime, job: Job) -> None:
    """So that a job with a bug is not due again at the next turn; where the database is lost, nothing to do.

    A run that still waits would make it due whatever the next time says: it ends.
    """
    with suppress(NewerVersion, psycopg.Error):
        wanted = jobs.read(job)
        async with runtime.db.as_worker() as conn:
            if not await jobs.is_held(conn, job):
                return
            await connections.put_off(conn, wanted.connection_id)
            waiting = await runs.open_run(conn, wanted.connection_id)
            if waiting is not None and waiting.state == "queued":
                await runs.finish(conn, waiting, "failed", "internal_error")
