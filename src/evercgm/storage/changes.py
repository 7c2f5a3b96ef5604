"""What changes, told as it happens: one look a second for all listeners of a process.

A look reads the present state of the persons listened to and compares it with what each listener was told: nothing
depends on the order in which transactions end, and a listener that comes late begins with the whole state.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg

from evercgm.core.errors import BadInput
from evercgm.logs import get_logger
from evercgm.storage.database import Connection, Database, Row, load_queries
from evercgm.storage.views import ReadingView, RunView, make_cursor, open_cursor

log = get_logger(__name__)
QUERIES = load_queries("changes.sql")
LOOK_EVERY_S, LONGEST_LOOK_S, MOST_FAILED_LOOKS = 1.0, 5.0, 20
MOST_READINGS_A_LOOK, MOST_WAITING = 300, 1000
# Who was away for longer loads the page anew.
LONGEST_AWAY = timedelta(days=1)
Place = tuple[datetime, str]
Kind = Literal["reading", "connection", "sync"]


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What changes in a connection; ``status`` is ``removed`` once it is gone. Times aware UTC."""

    id: str
    person_id: str
    provider: str
    status: str
    reason: str | None
    last_sync_at: datetime | None
    next_sync_at: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to tell; ``place`` is where a listener goes on who was told of this reading."""

    kind: Kind
    what: ReadingView | RunView | ConnectionState
    place: str | None = None


Told = dict[tuple[Kind, str], RunView | ConnectionState]


@dataclass(eq=False, slots=True)
class Listener:
    """A stream of one owner about one person. ``waiting`` ends with None when the stream is over."""

    owner_id: str
    person_id: str
    session: bytes | None
    after: Place | None
    told: Told = field(default_factory=dict)
    waiting: "asyncio.Queue[Change | None]" = field(default_factory=asyncio.Queue)

    def tell(self, changes: Iterable[Change]) -> bool:
        """Lay changes ready; false where too many wait to be fetched already."""
        for change in changes:
            self.waiting.put_nowait(change)
        return self.waiting.qsize() <= MOST_WAITING

    def end(self) -> None:
        """Close the stream after what is laid ready."""
        self.waiting.put_nowait(None)


@dataclass(frozen=True, slots=True)
class Look:
    """The present state: of each listener its new readings, of each person the rest; and who may still listen."""

    listening: set[Listener]
    readings: dict[Listener, list[ReadingView]]
    states: dict[str, Told]


def session_mark(token: str) -> bytes:
    """What stands for a session's token in the database."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def place_of(last_event_id: str) -> Place | None:
    """Where to go on after a reading that was told; None for what is no such place or too long ago."""
    try:
        place = open_cursor(last_event_id)
    except BadInput:
        return None
    age = datetime.now(UTC) - place[0]
    return place if timedelta() <= age + timedelta(hours=1) and age <= LONGEST_AWAY else None


class Hub:
    """All listeners of a process and the one task that looks for them; it runs while there are any."""

    def __init__(self, db: Database, *, most: int = 500, most_of_owner: int = 10, every_s: float = LOOK_EVERY_S):
        self._db = db
        self._most, self._most_of_owner, self._every_s = most, most_of_owner, every_s
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.looks = 0

    def is_full(self) -> bool:
        """Whether nobody more may listen: too many do, or the process is ending."""
        return self._closed or len(self._listeners) >= self._most

    def is_full_for(self, owner_id: str) -> bool:
        """Whether this owner has as many streams as one may have."""
        return sum(item.owner_id == owner_id for item in self._listeners) >= self._most_of_owner

    def join(self, listener: Listener) -> None:
        """Tell this listener from now on; its first look gives it the whole state."""
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on())

    def leave(self, listener: Listener) -> None:
        """Tell it nothing more."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams at once and begin no new one: the process is ending."""
        self._closed = True
        self._end(set(self._listeners))

    def _end(self, listeners: set[Listener]) -> None:
        for listener in listeners:
            listener.end()
        self._listeners -= listeners

    async def _look_on(self) -> None:
        failed = 0
        try:
            while self._listeners:
                failed = 0 if await self._try_look() else failed + 1
                if failed >= MOST_FAILED_LOOKS:
                    break
                await asyncio.sleep(self._every_s)
        finally:
            # Nobody may wait for a task that has ended.
            self._end(set(self._listeners))

    async def _try_look(self) -> bool:
        self.looks += 1
        asked = list(self._listeners)
        try:
            look = await look_for_all(self._db, asked)
        except (psycopg.Error, OSError) as failure:
            log.warning("look_failed", error=type(failure).__name__)
            return False
        ended = set(asked) - look.listening
        too_slow = {item for item in look.listening & self._listeners if not _tell(item, look)}
        self._end((ended | too_slow) & self._listeners)
        return True


def _tell(listener: Listener, look: Look) -> bool:
    state = look.states.get(listener.person_id, {})
    changed = [Change(key[0], what) for key, what in state.items() if listener.told.get(key) != what]
    gone = [
        Change("connection", ConnectionState(what.id, what.person_id, what.provider, "removed", None, None, None))
        for key, what in listener.told.items()
        if isinstance(what, ConnectionState) and key not in state
    ]
    fresh = look.readings.get(listener, [])
    listener.told = state
    if fresh:
        listener.after = (fresh[-1].measured_at, fresh[-1].id)
    return listener.tell([*(Change("reading", item, make_cursor(item)) for item in fresh), *changed, *gone])


async def look_for_all(db: Database, listeners: Sequence[Listener]) -> Look:
    """A look that one person's odd row spoils for that person alone: whose rows cannot be read may not listen.

    Raises psycopg.Error, OSError where no look is possible at the moment.
    """
    try:
        async with asyncio.timeout(LONGEST_LOOK_S):
            return await take_look(db, listeners)
    except psycopg.DataError as failure:
        persons = sorted({item.person_id for item in listeners})
        if len(persons) == 1:
            log.warning("look_at_person_failed", error=type(failure).__name__)
            return Look(set(), {}, {})
    # By halves: the one among many is found in few looks.
    first = set(persons[: len(persons) // 2])
    one = await look_for_all(db, [item for item in listeners if item.person_id in first])
    other = await look_for_all(db, [item for item in listeners if item.person_id not in first])
    return Look(one.listening | other.listening, one.readings | other.readings, one.states | other.states)


async def take_look(db: Database, listeners: Sequence[Listener]) -> Look:
    """Read what there is to tell, in at most five indexed queries whatever the number of listeners."""
    async with db.as_worker() as conn:
        live = await _still_listening(conn, listeners)
        pairs = sorted({(item.person_id, item.owner_id) for item in live})
        named = {"persons": [pair[0] for pair in pairs], "owners": [pair[1] for pair in pairs]}
        states: dict[str, Told] = {person_id: {} for person_id, _ in pairs}
        for row in await _rows(conn, "connections", named):
            states[row["person_id"]]["connection", row["id"]] = ConnectionState(**row)
        for row in await _rows(conn, "sync_runs", named):
            states[row["person_id"]]["sync", row["id"]] = RunView(**row)
        return Look(live, await _new_readings(conn, live), states)


async def _still_listening(conn: Connection, listeners: Sequence[Listener]) -> set[Listener]:
    """Those whose person is still theirs, and whose session has not ended."""
    named = {"persons": [item.person_id for item in listeners], "owners": [item.owner_id for item in listeners]}
    owned = {(row["person_id"], row["owner_id"]) for row in await _rows(conn, "owned", named)}
    marks = list({item.session for item in listeners if item.session is not None})
    found = await _rows(conn, "live_sessions", {"sessions": marks}) if marks else []
    sessions = {None, *(bytes(row["token_hash"]) for row in found)}
    return {item for item in listeners if (item.person_id, item.owner_id) in owned and item.session in sessions}


async def _new_readings(conn: Connection, listeners: set[Listener]) -> dict[Listener, list[ReadingView]]:
    """By listener; those at the same place share the query's row."""
    places: dict[tuple[str, str, Place | None], list[Listener]] = {}
    for listener in listeners:
        places.setdefault((listener.person_id, listener.owner_id, listener.after), []).append(listener)
    asked = list(places)
    values = {
        "persons": [person_id for person_id, _, _ in asked],
        "owners": [owner_id for _, owner_id, _ in asked],
        "times": [after and after[0] for _, _, after in asked],
        "ids": [after and after[1] for _, _, after in asked],
        "most": MOST_READINGS_A_LOOK,
    }
    found: dict[Listener, list[ReadingView]] = {}
    for row in await _rows(conn, "readings", values):
        n = row.pop("n")
        reading = ReadingView(**row)
        for listener in places[asked[n - 1]]:
            found.setdefault(listener, []).append(reading)
    return found


async def _rows(conn: Connection, query: str, values: Mapping[str, object]) -> list[Row]:
    return await (await conn.execute(QUERIES[query], values)).fetchall()
