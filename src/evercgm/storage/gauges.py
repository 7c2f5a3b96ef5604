"""How busy it is, told by the database: what is due, how old jobs are, calls and pauses. Nobody's data, only counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg

from evercgm.core.limits import Books, Place
from evercgm.logs import get_logger
from evercgm.storage import budgets, jobs
from evercgm.storage.database import Connection, Database, Row, load_queries

log = get_logger(__name__)
QUERIES = load_queries("gauges.sql")
# More than this is not counted: the count stays cheap when it matters most.
MOST_DUE = 100_000


@dataclass(frozen=True, slots=True)
class Load:
    """``due``: connections whose time has come, ``due_for_s``: how long the first of them has waited.

    ``job_waits_s``, ``job_runs_s``: the age of the oldest job of either kind. 0 where there is none.
    """

    due: int
    due_for_s: float
    job_waits_s: float
    job_runs_s: float
    books: Mapping[Place, Books]


async def look(db: Database, places: Iterable[Place]) -> Load | None:
    """All of it in one transaction; None where the database does not answer."""
    try:
        async with db.as_worker() as conn:
            due = await _one(conn, "due", {"most": MOST_DUE})
            oldest = await _one(conn, "oldest_jobs", {"entrypoints": jobs.KINDS})
            books = {place: await budgets.read(conn, place) for place in places}
    except psycopg.Error as failure:
        log.warning("gauges_unknown", error=type(failure).__name__)
        return None
    return Load(due["connections"], due["waiting_s"], oldest["waiting_s"], oldest["running_s"], books)


async def last_sync(db: Database) -> tuple[datetime | None, int] | None:
    """When a sync last ended well (aware UTC), and how many connections work; None: the database does not answer."""
    try:
        async with db.as_worker() as conn:
            row = await _one(conn, "last_sync", {})
    except psycopg.Error as failure:
        log.warning("gauges_unknown", error=type(failure).__name__)
        return None
    return row["at"], row["connected"]


async def _one(conn: Connection, name: str, values: Row) -> Row:
    row = await (await conn.execute(QUERIES[name], values)).fetchone()
    if row is None:
        raise psycopg.DataError("no row")
    return row
