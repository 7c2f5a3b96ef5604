"""A person asks for a sync now: a run that the worker takes, or the one that is open already."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from evercgm.core.caller import Caller
from evercgm.core.connection import BY_FILE
from evercgm.core.errors import (
    BadInput,
    CallsHeldBack,
    NothingToSync,
    NotYours,
    ReconnectNeeded,
    SignInLocked,
    SyncTooSoon,
)
from evercgm.storage import budgets, connections, jobs, routes, runs
from evercgm.storage.database import Connection, Database, Row, become_worker

# Counted from the last run that a person asked for and that started: it bounds what pressing the button costs at the
# vendor. Scheduled, first and command-line runs have limits of their own, and a person who presses just after one of
# them, say because it failed, has waited for nothing yet. A run that is open is given back, whoever asked for it.
MIN_INTERVAL_S = 60
SYNCED = ("connected", "error")
# A year of one person is a few calls and about 100,000 readings; who needs more asks year by year.
LONGEST_DAYS = 366


@dataclass(frozen=True, slots=True)
class RequestedRun:
    """A run that is queued or running for the person's request."""

    id: str
    connection_id: str
    state: str


async def request_sync(
    db: Database,
    caller: Caller,
    *,
    connection_id: str | None,
    person_id: str | None,
    start: datetime | None,
    end: datetime | None,
) -> list[RequestedRun]:
    """One run per connection; asking again gives the open one. ``start``, ``end``: a window (aware UTC).

    Where some of several connections were asked for within 60 s, the others are answered. Raises NotYours;
    SyncTooSoon where all were (never for an asked window); CallsHeldBack where the vendor is paused for all that are
    left, SignInLocked where it has locked their sign-in for a while; BadInput(from) for a window that holds nothing or
    more than a year; ReconnectNeeded, NothingToSync.
    """
    _check_window(start, end, datetime.now(UTC))
    async with db.as_person(caller.claims) as conn:
        if person_id is not None and not await connections.owns_person(conn, person_id):
            raise NotYours("person", person_id)
        owned = await connections.own_connections(conn, person_id=person_id, connection_id=connection_id)
        if not owned and connection_id is not None:
            raise NotYours("connection", connection_id)
        fetched = [row for row in owned if row["region"] != BY_FILE]
        await become_worker(conn)
        living = await routes.living(conn, [row["id"] for row in fetched if row["status"] == "expired"])
        synced = [row for row in fetched if row["status"] in SYNCED or row["id"] in living]
        if not synced:
            raise _refusal(fetched, owned, "connection_id" if connection_id else "person_id")
        return await _request_all(conn, synced, start, end)


def _check_window(start: datetime | None, end: datetime | None, now: datetime) -> None:
    if start is None and end is not None:
        raise BadInput("from", "is missing: 'to' ends a window that begins there")
    if start is None:
        return
    if end is not None and start >= end:
        raise BadInput("from", "must be before 'to'")
    if start > now:
        raise BadInput("from", "must not lie in the future")
    if (end or now) - start > timedelta(days=LONGEST_DAYS):
        raise BadInput("from", f"must lie at most {LONGEST_DAYS} days before 'to', or before now")


def _refusal(fetched: list[Row], owned: list[Row], field: str) -> ReconnectNeeded | NothingToSync:
    if any(row["status"] == "expired" for row in fetched):
        return ReconnectNeeded()
    if fetched:
        return NothingToSync("paused", field)
    return NothingToSync("by_file" if owned else "not_connected", field)


async def _request_all(
    conn: Connection, rows: list[Row], start: datetime | None, end: datetime | None
) -> list[RequestedRun]:
    found: list[RequestedRun] = []
    refused: list[SyncTooSoon | CallsHeldBack | SignInLocked] = []
    for row in rows:
        try:
            found.append(await _request(conn, row, start, end))
        except (SyncTooSoon, CallsHeldBack, SignInLocked) as refusal:
            refused.append(refusal)
    if refused and not found:
        raise min(refused, key=lambda refusal: refusal.retry_after_s or 0)
    return found


async def _request(conn: Connection, row: Row, start: datetime | None, end: datetime | None) -> RequestedRun:
    found = await runs.open_run(conn, row["id"])
    if found is None:
        _refuse_locked(row)
        await budgets.refuse_paused(conn, (row["provider"], row["region"]))
        if start is None and end is None:
            await _refuse_too_soon(conn, row["id"])
        found, _new = await runs.open_or_make(
            conn, row["id"], row["person_id"], "person", window_from=start, window_to=end
        )
    await jobs.enqueue_syncs(conn, [row["id"]], jobs.PERSON_PRIORITY)
    return RequestedRun(found.id, found.connection_id, found.state)


def _refuse_locked(row: Row) -> None:
    """A sync before the time would send nothing (actions/access.py): who asks is told when it will."""
    if row["reason"] == "sign_in_locked" and row["waits_s"] is not None and row["waits_s"] > 0:
        raise SignInLocked(math.ceil(row["waits_s"]), sent=False)


async def _refuse_too_soon(conn: Connection, connection_id: str) -> None:
    since = await runs.seconds_since_asked(conn, connection_id)
    if since is not None and since < MIN_INTERVAL_S:
        raise SyncTooSoon(math.ceil(MIN_INTERVAL_S - since))
