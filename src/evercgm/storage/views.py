"""What a person may see, read as that person under row-level security; changes nothing."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import args_row

from evercgm.core.caller import Caller
from evercgm.core.errors import BadInput, NotYours
from evercgm.storage.database import Connection, Database, Row, load_queries

QUERIES = load_queries("views.sql")
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person of the caller."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection as its owner may see it; times aware UTC, ``now`` is the database's clock.

    ``reason`` is a stable code, None where all is well. ``region`` is None for one that we have not adopted.
    """

    id: str
    person_id: str
    provider: str
    region: str | None
    status: str
    reason: str | None
    device_id: str | None
    connected_at: datetime
    token_expires_at: datetime | None
    last_sync_at: datetime | None
    next_sync_at: datetime | None
    newest_reading_at: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """Readings that a connection has brought, and the number of UTC days they lie on."""

    total: int
    days: int


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` inclusive to ``end`` exclusive, aware; None is open."""

    start: datetime | None
    end: datetime | None


# Made by the thousand in one answer: a frozen dataclass takes ten times as long to make.
class ReadingView(msgspec.Struct, frozen=True, gc=False):
    """A stored reading: ``value`` in mg/dL, ``trend_rate`` mg/dL per minute, ``measured_at`` aware UTC.

    The fields in the order of the columns of the query.
    """

    id: str
    measured_at: datetime
    value: float
    source: str
    provider: str | None
    connection_id: str | None
    trend: str | None
    trend_rate: float | None
    flag: str | None
    display_offset_min: int | None


@dataclass(frozen=True, slots=True)
class ReadingsPage:
    """Newest first; ``next_cursor`` leads on to older ones, None at the end."""

    readings: list[ReadingView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class RunView:
    """One sync as its owner may see it; times aware UTC."""

    id: str
    connection_id: str
    person_id: str
    trigger: str
    state: str
    outcome: str | None
    reason: str | None
    window_from: datetime | None
    window_to: datetime | None
    fetched: int
    inserted: int
    updated: int
    rejected: int
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


async def persons(db: Database, caller: Caller) -> list[PersonView]:
    """All persons of the caller, by label."""
    async with db.as_person(caller.claims) as conn:
        return [PersonView(**row) for row in await _rows(conn, "persons", {})]


async def chosen_person(db: Database, caller: Caller, person_id: str | None) -> str:
    """The person meant: the one named, else the caller's only one.

    Raises NotYours (not the caller's), BadInput(person_id): none named, and the caller has not exactly one.
    """
    async with db.as_person(caller.claims) as conn:
        return await _chosen(conn, person_id)


async def connections(db: Database, caller: Caller, person_id: str | None) -> list[ConnectionView]:
    """Connections of one person, or of all. Raises NotYours: not the caller's person."""
    async with db.as_person(caller.claims) as conn:
        if person_id is not None:
            await _require(conn, "own_person", {"person_id": person_id})
        rows = await _rows(conn, "connections", {"person_id": person_id, "connection_id": None})
    return [_connection(row) for row in rows]


async def connection(db: Database, caller: Caller, connection_id: str) -> tuple[ConnectionView, Totals]:
    """One connection and what it has brought. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        rows = await _rows(conn, "connections", {"person_id": None, "connection_id": connection_id})
        if not rows:
            raise NotYours("connection")
        totals = await _rows(conn, "reading_totals", {"connection_id": connection_id})
    return _connection(rows[0]), Totals(**totals[0])


async def readings(
    db: Database, caller: Caller, person_id: str | None, span: Span, *, limit: int, cursor: str | None
) -> ReadingsPage:
    """One page of at most ``limit`` readings. Raises NotYours; BadInput: person_id, cursor."""
    after_time, after_id = open_cursor(cursor) if cursor is not None else (None, None)
    async with db.as_person(caller.claims) as conn:
        values = {
            "person_id": person_id or await _chosen(conn, None),
            "start": span.start,
            "end": span.end,
            "after_time": after_time,
            "after_id": after_id,
            "limit": limit + 1,
        }
        rows = conn.cursor(row_factory=args_row(ReadingView))
        found = await (await rows.execute(QUERIES["readings"], values)).fetchall()
        if not found:
            # The query names the owner: a reading is proof enough, none may be that of a stranger's person.
            await _require(conn, "own_person", values)
    page = found[:limit]
    return ReadingsPage(page, make_cursor(page[-1]) if len(found) > limit else None)


async def sync_runs(db: Database, caller: Caller, connection_id: str | None, *, limit: int) -> list[RunView]:
    """The newest syncs of a connection, or of all. Raises NotYours: not the caller's connection."""
    async with db.as_person(caller.claims) as conn:
        if connection_id is not None:
            await _require(conn, "own_connection", {"connection_id": connection_id})
        values = {"connection_id": connection_id, "run_id": None, "limit": limit}
        return [RunView(**row) for row in await _rows(conn, "sync_runs", values)]


async def sync_run(db: Database, caller: Caller, run_id: str) -> RunView:
    """One sync. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        rows = await _rows(conn, "sync_runs", {"connection_id": None, "run_id": run_id, "limit": 1})
    if not rows:
        raise NotYours("sync")
    return RunView(**rows[0])


async def _rows(conn: Connection, query: str, values: Values) -> list[Row]:
    return await (await conn.execute(QUERIES[query], values)).fetchall()


async def _require(conn: Connection, query: str, values: Values) -> None:
    if not await _rows(conn, query, values):
        raise NotYours(query)


async def _chosen(conn: Connection, person_id: str | None) -> str:
    if person_id is not None:
        await _require(conn, "own_person", {"person_id": person_id})
        return person_id
    rows = await _rows(conn, "persons", {})
    if len(rows) != 1:
        raise BadInput("person_id", f"name the person: you have {len(rows)}, not exactly one")
    return str(rows[0]["id"])


def _connection(row: Row) -> ConnectionView:
    facts = dict(row)
    if not facts.pop("adopted"):
        facts["reason"] = "not_adopted"
    elif facts["reason"] is None and facts["status"] == "disconnected":
        facts["reason"] = "paused"
    return ConnectionView(**facts)


def make_cursor(last: ReadingView) -> str:
    """The place of a reading in its person's readings, as text for an address."""
    text = json.dumps([last.measured_at.isoformat(), last.id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def open_cursor(cursor: str) -> tuple[datetime, str]:
    """The place that ``make_cursor`` wrote. Raises BadInput: not one of ours."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        time_text, id_ = json.loads(raw)
        after = datetime.fromisoformat(time_text)
        if not isinstance(id_, str) or not id_.isascii() or not id_.isprintable() or after.tzinfo is None:
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise BadInput("cursor", "use the next link of the page before as it is") from None
    return after, id_
