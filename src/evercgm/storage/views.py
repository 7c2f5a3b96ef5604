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
from evercgm.storage import routes
from evercgm.storage.database import Connection, Database, Row, become_worker, load_queries
from evercgm.storage.routes import RouteView

QUERIES = load_queries("views.sql")
Values = Mapping[str, Any]
# Digits of an event's place among those of the same moment.
LONGEST_PLACE = 9


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
    routes: tuple[RouteView, ...] = ()


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
    """Newest first, of one person; ``next_cursor`` leads on to older ones, None at the end."""

    readings: list[ReadingView]
    next_cursor: str | None
    person_id: str


@dataclass(frozen=True, slots=True)
class EventView:
    """A deed as the person's owner may see it: who did it stays raw here, ``at`` is aware UTC.

    ``id`` is the event's place among the person's own: the table's numbers would tell of everybody's.
    """

    id: str
    at: datetime
    actor: str
    action: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventsPage:
    """Newest first; ``next_cursor`` leads on to older ones, None at the end."""

    events: list[EventView]
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
    due_at: datetime | None
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
        return await choose_person(conn, person_id)


async def connections(db: Database, caller: Caller, person_id: str | None) -> list[ConnectionView]:
    """Connections of one person, or of all. Raises NotYours: not the caller's person."""
    async with db.as_person(caller.claims) as conn:
        if person_id is not None:
            await _require_person(conn, person_id)
        rows = await _rows(conn, "connections", {"person_id": person_id, "connection_id": None})
        await become_worker(conn)
        ways = await routes.told(conn, [row["id"] for row in rows])
    return [_connection(row, ways) for row in rows]


async def connection(db: Database, caller: Caller, connection_id: str) -> tuple[ConnectionView, Totals]:
    """One connection and what it has brought. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        rows = await _rows(conn, "connections", {"person_id": None, "connection_id": connection_id})
        if not rows:
            raise NotYours("connection", connection_id)
        totals = await _rows(conn, "reading_totals", {"connection_id": connection_id})
        await become_worker(conn)
        ways = await routes.told(conn, [connection_id])
    return _connection(rows[0], ways), Totals(**totals[0])


async def readings(
    db: Database, caller: Caller, person_id: str | None, span: Span, *, limit: int, cursor: str | None
) -> ReadingsPage:
    """One page of at most ``limit`` readings. Raises NotYours; BadInput: person_id, cursor."""
    after_time, after_id = open_cursor(cursor) if cursor is not None else (None, None)
    async with db.as_person(caller.claims) as conn:
        chosen = person_id or await choose_person(conn, None)
        values = {
            "person_id": chosen,
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
            await _require_person(conn, chosen)
    page = found[:limit]
    return ReadingsPage(page, make_cursor(page[-1]) if len(found) > limit else None, chosen)


async def audit_events(
    db: Database, caller: Caller, person_id: str | None, *, limit: int, cursor: str | None
) -> EventsPage:
    """One page of at most ``limit`` events of one person. Raises NotYours; BadInput: person_id, cursor."""
    after_time, after_place = open_cursor(cursor) if cursor is not None else (None, None)
    if after_place is not None and not (after_place.isdigit() and len(after_place) <= LONGEST_PLACE):
        raise _bad_cursor()
    async with db.as_person(caller.claims) as conn:
        values = {
            "person_id": await choose_person(conn, person_id),
            "after_time": after_time,
            "after_place": after_place,
            "limit": limit + 1,
        }
        found = [_event(row) for row in await _rows(conn, "audit_events", values)]
    page = found[:limit]
    return EventsPage(page, page[-1].id if len(found) > limit else None)


async def sync_runs(db: Database, caller: Caller, connection_id: str | None, *, limit: int) -> list[RunView]:
    """The newest syncs of a connection, or of all. Raises NotYours: not the caller's connection."""
    async with db.as_person(caller.claims) as conn:
        if connection_id is not None:
            await _require_connection(conn, connection_id)
        values = {"connection_id": connection_id, "run_id": None, "limit": limit}
        return [RunView(**row) for row in await _rows(conn, "sync_runs", values)]


async def sync_run(db: Database, caller: Caller, run_id: str) -> RunView:
    """One sync. Raises NotYours."""
    async with db.as_person(caller.claims) as conn:
        rows = await _rows(conn, "sync_runs", {"connection_id": None, "run_id": run_id, "limit": 1})
    if not rows:
        raise NotYours("sync", run_id)
    return RunView(**rows[0])


async def _rows(conn: Connection, query: str, values: Values) -> list[Row]:
    return await (await conn.execute(QUERIES[query], values)).fetchall()


async def _require_person(conn: Connection, person_id: str) -> None:
    if not await _rows(conn, "own_person", {"person_id": person_id}):
        raise NotYours("person", person_id)


async def _require_connection(conn: Connection, connection_id: str) -> None:
    if not await _rows(conn, "own_connection", {"connection_id": connection_id}):
        raise NotYours("connection", connection_id)


async def choose_person(conn: Connection, person_id: str | None) -> str:
    """As the person: the one named, else the caller's only one. Raises NotYours, BadInput(person_id)."""
    if person_id is not None:
        await _require_person(conn, person_id)
        return person_id
    rows = await _rows(conn, "persons", {})
    if len(rows) != 1:
        raise BadInput("person_id", f"name the person: you have {len(rows)}, not exactly one")
    return str(rows[0]["id"])


def _connection(row: Row, ways: Mapping[str, tuple[RouteView, ...]]) -> ConnectionView:
    facts = {**row, "routes": ways.get(row["id"], ())}
    if not facts.pop("adopted"):
        facts["reason"] = "not_adopted"
    elif facts["reason"] is None and facts["status"] == "disconnected":
        facts["reason"] = "paused"
    return ConnectionView(**facts)


def _event(row: Row) -> EventView:
    return EventView(_place(row["at"], row["place"]), row["at"], row["actor"], row["action"], row["detail"])


def make_cursor(last: ReadingView) -> str:
    """The place of a reading in its person's readings, as text for an address."""
    return _place(last.measured_at, last.id)


def _place(at: datetime, id_: str) -> str:
    text = json.dumps([at.isoformat(), id_])
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
        raise _bad_cursor() from None
    return after, id_


def _bad_cursor() -> BadInput:
    return BadInput("cursor", "use the next link of the page before as it is")
