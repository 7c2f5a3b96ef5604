"""The one place that knows the job engine's tables: puts jobs in, and builds the engine for the worker."""

from typing import Any

import msgspec
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.queries import Queries

from evercgm.storage.database import Connection, Database, load_queries

SCHEMA = "cgm_jobs"
SYNC = "sync_connection"
DUE_PRIORITY = 0
PERSON_PRIORITY = 10
QUERIES = load_queries("jobs.sql")


class SyncJob(msgspec.Struct, frozen=True):
    """What a job carries: an id and nothing else, never a token."""

    connection_id: str


def engine(conn: Any) -> PgQueuer:
    """The job engine over a direct or session-pooled connection of role ``cgm_worker``."""
    driver = _driver(conn)
    return PgQueuer(driver, queries=_queries(driver))


async def enqueue_syncs(conn: Connection, connection_ids: list[str], priority: int = DUE_PRIORITY) -> None:
    """One job per connection, in the caller's transaction as ``cgm_worker``; one in the queue is enough."""
    if not connection_ids:
        return
    if priority > DUE_PRIORITY:
        # One that waits already, behind all that is due, must not wait there.
        await conn.execute(QUERIES["hurry"], _named(connection_ids) | {"priority": priority})
    await _queries(_driver(conn)).enqueue(
        [SYNC] * len(connection_ids),
        [msgspec.json.encode(SyncJob(connection_id)) for connection_id in connection_ids],
        [priority] * len(connection_ids),
        dedupe_key=[f"sync:{connection_id}" for connection_id in connection_ids],
        on_conflict="skip",
    )


async def are_waiting(db: Database) -> bool:
    """Whether there are syncs that no worker has begun."""
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["waiting"], {"entrypoint": SYNC})).fetchone()
    return bool(row and row["waiting"])


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
    return PsycopgDriver(conn)


def _queries(driver: PsycopgDriver) -> Queries:
    settings = DBSettings(db_schema=SCHEMA)
    return Queries(
        driver,
        QueryBuilderEnvironment(settings),
        QueryQueueBuilder(settings),
        QuerySchedulerBuilder(settings),
    )
