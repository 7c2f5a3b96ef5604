"""The calls that our app makes at each vendor, counted once for all processes, and the pauses that all of them keep."""

from datetime import datetime

import psycopg

from evercgm.core import limits
from evercgm.core.errors import CallsHeldBack, SignInsHeldBack
from evercgm.core.limits import Books, CallLimits, Grant, Pause, Paused, Place, Taken, Urgency, Wait
from evercgm.logs import get_logger
from evercgm.storage.database import Connection, Database, Row, load_queries

log = get_logger(__name__)
QUERIES = load_queries("budgets.sql")


class Budgets:
    """The one ledger, in the database; each method is a transaction of its own."""

    def __init__(self, db: Database):
        self._db = db

    async def take(
        self, place: Place, call_limits: CallLimits | None, urgency: Urgency, wanted: int, unused: Taken | None
    ) -> tuple[Grant, Taken | None]:
        """Up to ``wanted`` calls that may be made now, after giving ``unused`` ones of an earlier block back."""
        async with self._db.as_worker() as conn:
            values = _values(place)
            await conn.execute(QUERIES["lock_books"], values)
            if unused is not None:
                await conn.execute(QUERIES["hand_back"], {**values, "calls": unused.calls, "minute": unused.minute})
            books = await read(conn, place)
            granted = limits.grant(books, call_limits, urgency, wanted)
            if granted.calls == 0:
                return granted, None
            if granted.probe_of is not None:
                await conn.execute(QUERIES["begin_probe"], {**values, "probe_until": books.now + limits.PROBE_LASTS})
            return granted, await _take(conn, values, books.now, granted.calls)

    async def pause(
        self, place: Place, asked_s: int | None, took_s: float, wait: Wait = limits.USUAL_WAIT
    ) -> Paused | None:
        """Pause the place after such an answer to a call that took so long; None where the database does not answer.

        Never raises for the database: the answer that brought us here must not be lost over it.
        """
        try:
            async with self._db.as_worker() as conn:
                values = _values(place)
                await conn.execute(QUERIES["lock_books"], values)
                books = await read(conn, place)
                pause = limits.after_429(books.pause, books.now, asked_s, took_s, wait)
                await conn.execute(QUERIES["pause"], {**values, "until": pause.until, "strikes": pause.strikes})
        except psycopg.Error as failure:
            log.error("pause_not_stored", provider=place[0], region=place[1], error=type(failure).__name__)
            return None
        began = limits.circuit(books.pause, books.now) != "open"
        return Paused((pause.until - books.now).total_seconds(), pause.strikes, began)

    async def resume(self, place: Place, until: datetime) -> bool:
        """End the pause of that time, whose probe was answered; whether it was still there.

        Never raises for the database: the next probe ends it then.
        """
        try:
            async with self._db.as_worker() as conn:
                cursor = await conn.execute(QUERIES["end_pause"], {**_values(place), "until": until})
                return await cursor.fetchone() is not None
        except psycopg.Error as failure:
            log.error("pause_not_ended", provider=place[0], region=place[1], error=type(failure).__name__)
            return False


async def read(conn: Connection, place: Place) -> Books:
    """As the worker: what is counted there, and the pause if there was one."""
    row = await (await conn.execute(QUERIES["read_books"], _values(place))).fetchone()
    if row is None:
        raise psycopg.DataError("no row")
    return Books(row["now"], row["used"], row["oldest"], _pause(row))


async def refuse_paused(conn: Connection, place: Place) -> None:
    """As the worker, before a person begins what would only fail. Raises CallsHeldBack while the place is paused."""
    seconds = await _paused_for(conn, place)
    if seconds is not None:
        raise CallsHeldBack(seconds)


async def refuse_banned_sign_in(conn: Connection, place: Place) -> None:
    """As ``refuse_paused``, while the vendor takes no sign-in from our address. Raises SignInsHeldBack."""
    seconds = await _paused_for(conn, limits.sign_in_place(place))
    if seconds is not None:
        raise SignInsHeldBack(seconds)


async def _paused_for(conn: Connection, place: Place) -> float | None:
    row = await (await conn.execute(QUERIES["paused_for"], _values(place))).fetchone()
    return None if row is None else float(row["seconds"])


async def pause_for(conn: Connection, place: Place, reason: str) -> None:
    """As the worker: keep what the place is paused for; where nothing paused it yet, it is now, for an hour."""
    await conn.execute(QUERIES["pause_for"], {**_values(place), "reason": reason, "lasts": limits.LONGEST_PAUSE})


async def _take(conn: Connection, values: Row, now: datetime, calls: int) -> Taken:
    row = await (await conn.execute(QUERIES["take_calls"], {**values, "now": now, "calls": calls})).fetchone()
    await conn.execute(QUERIES["forget_old_calls"], {**values, "now": now})
    if row is None:
        raise psycopg.DataError("no row")
    return Taken(calls, row["window_start"])


def _pause(row: Row) -> Pause | None:
    return None if row["until"] is None else Pause(row["until"], row["strikes"], row["probe_until"], row["over"])


def _values(place: Place) -> Row:
    return {"provider": place[0], "region": place[1], "counted_for": limits.COUNTED_FOR}
