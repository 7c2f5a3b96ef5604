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

from evercgm.storage.database import Connection

SCHEMA = "cgm_jobs"
SYNC = "sync_connection"
DUE_PRIORITY = 0
PERSON_PRIORITY = 10


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
    await _queries(_driver(conn)).enqueue(
        [SYNC] * len(connection_ids),
        [msgspec.json.encode(SyncJob(connection_id)) for connection_id in connection_ids],
        [priority] * len(connection_ids),
        dedupe_key=[f"sync:{connection_id}" for connection_id in connection_ids],
        on_conflict="skip",
    )


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
