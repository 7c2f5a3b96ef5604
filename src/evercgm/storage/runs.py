"""The history of syncs: one open run per connection, resumed by its job, finished once."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from evercgm.storage.database import Connection, Row, load_queries
from evercgm.storage.readings import Saved

QUERIES = load_queries("runs.sql")
Trigger = Literal["person", "schedule", "connect", "command", "import"]
Outcome = Literal["succeeded", "nothing_new", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is queued or running; the window, if somebody asked for one, is aware UTC.

    ``job_id`` is None where a command runs it; ``fresh``: it started less than ten minutes ago. ``starts``: how often
    it was started when we saw it; once somebody has started it anew, it is theirs and we can neither count nor finish.
    """

    id: str
    connection_id: str
    trigger: Trigger
    state: str
    window_from: datetime | None
    window_to: datetime | None
    job_id: int | None
    starts: int
    fresh: bool


def _run(row: Row) -> Run:
    return Run(**row)


async def open_or_make(
    conn: Connection,
    connection_id: str,
    person_id: str,
    trigger: Trigger,
    *,
    window_from: datetime | None = None,
    window_to: datetime | None = None,
) -> tuple[Run, bool]:
    """The open run of a connection, or a new queued one; and whether it is new."""
    values = {
        "id": str(uuid.uuid4()),
        "connection_id": connection_id,
        "person_id": person_id,
        "trigger": trigger,
        "window_from": window_from,
        "window_to": window_to,
    }
    made = await (await conn.execute(QUERIES["insert_run"], values)).fetchone()
    if made is not None:
        return _run(made), True
    found = await (await conn.execute(QUERIES["open_run"], values)).fetchone()
    if found is None:
        # It ended between the two statements: now there is room for ours.
        return await open_or_make(conn, connection_id, person_id, trigger, window_from=window_from, window_to=window_to)
    return _run(found), False


async def open_run(conn: Connection, connection_id: str) -> Run | None:
    """The queued or running run of a connection."""
    found = await (await conn.execute(QUERIES["open_run"], {"connection_id": connection_id})).fetchone()
    return _run(found) if found else None


async def seconds_since_asked(conn: Connection, connection_id: str) -> float | None:
    """How long ago a person's sync of this connection started; None if never."""
    row = await (await conn.execute(QUERIES["last_start"], {"connection_id": connection_id})).fetchone()
    return None if row is None else row["seconds"]


async def start(conn: Connection, run: Run, job_id: int | None) -> Run | None:
    """Mark it running, from now on by us; None where it has ended meanwhile."""
    row = await (await conn.execute(QUERIES["start_run"], {"id": run.id, "job_id": job_id})).fetchone()
    return replace(run, state="running", starts=row["starts"]) if row else None


async def count(conn: Connection, run: Run, saved: Saved) -> bool:
    """Add a batch's counts to the run; False where it is not ours any more."""
    values = {
        "id": run.id,
        "starts": run.starts,
        "fetched": saved.fetched,
        "inserted": saved.inserted,
        "updated": saved.updated,
        "rejected": saved.rejected,
    }
    return await (await conn.execute(QUERIES["count_batch"], values)).fetchone() is not None


async def finish(conn: Connection, run: Run, outcome: Outcome, reason: str | None = None) -> Row | None:
    """End the run; its row with the final counts, None where it had ended or is not ours any more."""
    values = {
        "id": run.id,
        "starts": run.starts,
        "outcome": outcome,
        "reason": reason,
        "connection_id": run.connection_id,
    }
    row = await (await conn.execute(QUERIES["finish_run"], values)).fetchone()
    if row is not None and row["outcome"] == "nothing_new" and row["trigger"] == "schedule":
        await conn.execute(QUERIES["forget_quiet_runs"], values)
    return row
