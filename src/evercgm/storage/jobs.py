"""The one place that knows the job engine's tables: puts jobs in, and builds the engine for the worker."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from pgqueuer import PgQueuer, QueueManager
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.models import Job, TracebackRecord
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from pgqueuer.types import JOB_STATUS, JobId, QueueEntrypoint, QueueManagerId

from evercgm.core.errors import NewerVersion
from evercgm.storage.database import Connection, Database, load_queries

SCHEMA = "cgm_jobs"
# What is due by itself, and what somebody waits for: that has a lane of its own in each worker, too.
SYNC, ASKED = "sync_connection", "sync_asked"
KINDS = [SYNC, ASKED]
DUE_PRIORITY = 0
PERSON_PRIORITY = 10
LISTENS_FOR_S = 0.1
QUERIES = load_queries("jobs.sql")
# In the engine's own spelling of parameters.
_KEEP = f"""
update {SCHEMA}.pgqueuer j
set heartbeat = now()
where j.id = any($1::bigint[])
  and j.queue_manager_id = any($2::uuid[])
returning j.id
"""
# One statement, as the engine's own: between two of them listening would have its turn. Ours never park failed jobs.
_END = f"""
with ended as (
  delete from {SCHEMA}.pgqueuer j
  using unnest($1::bigint[], $2::{SCHEMA}.pgqueuer_status[], $3::jsonb[]) as e (id, status, traceback)
  where j.id = e.id
    and j.queue_manager_id = any($4::uuid[])
  returning j.id, e.status, j.priority, j.entrypoint, e.traceback
)
insert into {SCHEMA}.pgqueuer_log (job_id, status, priority, entrypoint, traceback)
select id, status, priority, entrypoint, traceback from ended
"""


class _ShortTurns(PsycopgDriver):
    """Listening holds the connection: for a moment at a time, not for the engine's second, or each statement waits."""

    async def watch_notifies(self) -> None:
        """Hand each notification to the callbacks of its channel, until the engine ends."""
        while not self.shutdown.is_set():
            async for note in self._connection.notifies(timeout=LISTENS_FOR_S, stop_after=1):
                for callback in list(self._listeners.get(note.channel, ())):
                    callback(note.payload)


@dataclass
class _OwnJobs(Queries):
    """The engine's statements, held to jobs that are still ours.

    A worker that was silent for too long has lost its jobs to another one, and yet the engine would let it keep them
    alive, give them back or end them, so that they are put into the queue once more while the other one works.
    """

    managers: set[QueueManagerId] = field(default_factory=set, init=False)

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        """As the engine's; and who takes them is remembered."""
        self.managers.add(queue_manager_id)
        return await super().dequeue(
            batch_size, entrypoints, queue_manager_id, global_concurrency_limit, heartbeat_timeout
        )

    async def update_heartbeat(self, job_ids: list[JobId]) -> None:
        """Of ours."""
        await self._keep(job_ids)

    async def log_jobs(self, job_status: list[tuple[Job, JOB_STATUS, TracebackRecord | None]]) -> None:
        """End those that are ours."""
        await self.driver.execute(
            _END,
            [job.id for job, _status, _told in job_status],
            [status for _job, status, _told in job_status],
            [told.model_dump_json() if told else None for _job, _status, told in job_status],
            list(self.managers),
        )

    async def retry_job(self, job: Job, delay: timedelta, traceback_record: TracebackRecord | None) -> None:
        """Give it back, if it is ours."""
        if await self._keep([job.id]):
            await super().retry_job(job, delay, traceback_record)

    async def _keep(self, job_ids: list[JobId]) -> bool:
        """Whether any is still ours; such a one is nobody else's for one more heartbeat."""
        return bool(await self.driver.fetch(_KEEP, list(set(job_ids)), list(self.managers)))


class SyncJob(msgspec.Struct, frozen=True):
    """What a job carries: an id and nothing else, never a token."""

    connection_id: str


def read(job: Job) -> SyncJob:
    """What a job wants; what else a newer version says in it is not read. Raises NewerVersion where nothing fits."""
    try:
        return msgspec.json.decode(job.payload or b"", type=SyncJob)
    except msgspec.DecodeError:
        raise NewerVersion("a job of another form than we know") from None


def engine(conn: Any) -> PgQueuer:
    """The job engine over a direct or session-pooled connection of role ``cgm_worker``."""
    driver = _driver(conn)
    return PgQueuer(driver, queries=_OwnJobs(driver, *_builders()))


def lane_beside(queue: PgQueuer) -> QueueManager:
    """A second taker of jobs over the same connection, with places of its own; both end together."""
    lane = QueueManager(queue.qm.queries)
    lane.shutdown = queue.shutdown
    return lane


async def enqueue_syncs(conn: Connection, connection_ids: list[str], priority: int = DUE_PRIORITY) -> None:
    """One job per connection, in the caller's transaction as ``cgm_worker``; one in the queue is enough."""
    if not connection_ids:
        return
    entrypoint = SYNC
    if priority > DUE_PRIORITY:
        entrypoint = ASKED
        # One that waits already, behind all that is due, must not wait there.
        await conn.execute(QUERIES["hurry"], {**_named(connection_ids), "priority": priority, "entrypoint": entrypoint})
    await Queries(_driver(conn), *_builders()).enqueue(
        [entrypoint] * len(connection_ids),
        [msgspec.json.encode(SyncJob(connection_id)) for connection_id in connection_ids],
        [priority] * len(connection_ids),
        dedupe_key=[f"sync:{connection_id}" for connection_id in connection_ids],
        on_conflict="skip",
    )


async def are_waiting(db: Database) -> bool:
    """Whether there are syncs that no worker has begun."""
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["waiting"], {"entrypoints": KINDS})).fetchone()
    return bool(row and row["waiting"])


async def is_held(conn: Connection, job: Job) -> bool:
    """Whether the job is still with the worker that took it; it stays so until the transaction ends."""
    values = {"id": job.id, "manager": job.queue_manager_id}
    return await (await conn.execute(QUERIES["held"], values)).fetchone() is not None


async def count_syncs(conn: Connection, connection_ids: list[str]) -> int:
    """How many jobs wait or run for these connections."""
    row = await (await conn.execute(QUERIES["count_syncs"], _named(connection_ids))).fetchone()
    return int(row["jobs"]) if row else 0


async def forget_syncs(conn: Connection, connection_ids: list[str]) -> int:
    """Take their jobs out, those under way too: the engine's log keeps nothing that names them. How many there were."""
    return (await conn.execute(QUERIES["forget_syncs"], _named(connection_ids))).rowcount


def _named(connection_ids: list[str]) -> dict[str, list[Any]]:
    return {
        "payloads": [msgspec.json.encode(SyncJob(connection_id)) for connection_id in connection_ids],
        "keys": [f"sync:{connection_id}" for connection_id in connection_ids],
    }


def _driver(conn: Any) -> PsycopgDriver:
    # The engine sets the row factory of each cursor itself, whatever the connection's is.
    return _ShortTurns(conn)


def _builders() -> tuple[QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder]:
    settings = DBSettings(db_schema=SCHEMA)
    return QueryBuilderEnvironment(settings), QueryQueueBuilder(settings), QuerySchedulerBuilder(settings)
