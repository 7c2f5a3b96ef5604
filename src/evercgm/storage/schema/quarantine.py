"""Connections that the conversion of provider put aside: listed, put back, let go. Never their tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection, AsyncCursor, errors, sql
from psycopg.rows import dict_row

from evercgm.core.audit import OPERATOR, Action
from evercgm.core.errors import BadInput, EvercgmError, SettingsError
from evercgm.storage.audit import record
from evercgm.storage.database import Row, load_queries
from evercgm.storage.schema.reach import reached
from evercgm.storage.schema.told import as_word

QUERIES = load_queries("schema/quarantine.sql")
Reason = Literal["second_spelling", "unknown_provider"]


class CannotResolve(EvercgmError):
    """The database stands against it; the message says what, and what can be done. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A connection that was put aside, at ``put_aside_at`` (UTC), and how many readings were linked to it then.

    ``second_spelling``: the person has a better connection of the same provider, ``kept_id``, which has the readings
    now. ``unknown_provider``: no alias names ``spelling``; its readings are linked to nothing.
    """

    id: str
    person_id: str
    spelling: str
    reason: Reason
    kept_id: str | None
    readings: int
    put_aside_at: datetime


@dataclass(frozen=True, slots=True)
class PutBack:
    """``linked``: readings that are its own again; ``elsewhere``: those that stay with another connection."""

    id: str
    person_id: str
    provider: str
    linked: int
    elsewhere: int


async def list_quarantined(dsn: str, setting: str) -> list[Quarantined]:
    """All that is aside, the oldest first. Raises SettingsError where the database cannot be reached or read."""
    async with _worked(dsn, setting) as cursor:
        await cursor.execute(QUERIES["all"].encode())
        return [Quarantined(**row) for row in await cursor.fetchall()]


async def put_back(dsn: str, setting: str, connection_id: str, provider: str) -> PutBack:
    """Make it a connection of ``provider`` again, with those of its readings that nothing has linked since.

    All or nothing. Raises BadInput for an unknown id or provider, CannotResolve where its person has a connection of
    this provider or the table has changed, SettingsError as ``list_quarantined`` does.
    """
    async with _worked(dsn, setting) as cursor:
        aside = await _one(cursor, connection_id)
        known = [row["provider"] for row in await _rows(cursor, "providers")]
        if provider not in known:
            raise BadInput("--provider", f"{provider!r} is none of {', '.join(known)}")
        await _refuse_what_is_in_the_way(cursor, aside, provider)
        await _insert(cursor, aside, provider)
        await cursor.execute(QUERIES["relink"].encode(), {"id": aside.id})
        linked = cursor.rowcount
        elsewhere = (await _rows(cursor, "elsewhere", id=aside.id))[0]["readings"]
        result = PutBack(aside.id, aside.person_id, provider, linked, elsewhere)
        await _forget(cursor, aside, "quarantine_put_back", provider=provider, readings=linked)
        return result


async def let_go(dsn: str, setting: str, connection_id: str) -> Quarantined:
    """Delete it for good, its tokens with it; no reading is deleted, and no link changed. Raises as ``put_back``."""
    async with _worked(dsn, setting) as cursor:
        aside = await _one(cursor, connection_id)
        await _forget(cursor, aside, "quarantine_discarded", spelling=aside.spelling, reason=aside.reason)
        return aside


async def look_up(dsn: str, setting: str, connection_id: str) -> Quarantined:
    """One that is aside. Raises as ``put_back``."""
    async with _worked(dsn, setting) as cursor:
        return await _one(cursor, connection_id)


@asynccontextmanager
async def _worked(dsn: str, setting: str) -> AsyncIterator[AsyncCursor[Row]]:
    """A transaction as the owner, or as the worker where the service's login role comes."""
    async with reached(dsn, setting) as connection, connection.transaction():
        cursor = _cursor(connection)
        row = await (await cursor.execute(QUERIES["begin"].encode())).fetchone()
        if row is None or not row["migrated"]:
            raise SettingsError(f"{setting}: this database has no quarantine: run `evercgm db migrate` first")
        if not row["allowed"]:
            if not row["worker"]:
                raise SettingsError(f"{setting}: its role may not see the quarantine; use the one that migrates")
            await cursor.execute(QUERIES["become_worker"].encode())
        yield cursor


def _cursor(connection: AsyncConnection[Any]) -> AsyncCursor[Row]:
    return connection.cursor(row_factory=dict_row)


async def _rows(cursor: AsyncCursor[Row], query: str, **values: Any) -> list[Row]:
    await cursor.execute(QUERIES[query].encode(), values)
    return await cursor.fetchall()


async def _one(cursor: AsyncCursor[Row], connection_id: str) -> Quarantined:
    rows = await _rows(cursor, "one", id=connection_id)
    if not rows:
        raise BadInput("ID", f"there is no {connection_id!r} in quarantine (evercgm db quarantine list)")
    return Quarantined(**rows[0])


async def _refuse_what_is_in_the_way(cursor: AsyncCursor[Row], aside: Quarantined, provider: str) -> None:
    lost = await _rows(cursor, "lost_columns", id=aside.id)
    if lost:
        names = ", ".join(row["name"] for row in lost)
        raise CannotResolve(f"cgm_connections no longer has a column for values of {as_word(aside.id)}: {names}")
    others = await _rows(cursor, "in_the_way", id=aside.id, person_id=aside.person_id, provider=provider)
    if others:
        raise CannotResolve(_in_the_way(aside, provider, others[0]["id"]))


def _in_the_way(aside: Quarantined, provider: str, other: str) -> str:
    own, other_id = as_word(aside.id), as_word(other)
    if other == aside.id:
        return f"there is another connection with the id {own} meanwhile"
    if other == aside.kept_id:
        return (
            f"{own} is a second spelling ({aside.spelling!r}) of {other_id}, which was kept: its {aside.readings} "
            f"readings are there, only its own tokens are here. If nobody needs these, delete them for good: "
            f"evercgm db quarantine resolve {own} --discard --yes"
        )
    person = as_word(aside.person_id)
    return f"person {person} has one of {provider} already ({other_id}), and may have one of each provider"


async def _insert(cursor: AsyncCursor[Row], aside: Quarantined, provider: str) -> None:
    names = [row["name"] for row in await _rows(cursor, "columns", id=aside.id)]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    try:
        await cursor.execute(
            sql.SQL(QUERIES["put_back"]).format(columns=columns), {"id": aside.id, "provider": provider}
        )
    except errors.UniqueViolation:
        raise CannotResolve(
            f"another connection of person {as_word(aside.person_id)} was made at this moment"
        ) from None


async def _forget(cursor: AsyncCursor[Row], aside: Quarantined, action: Action, **detail: str | int) -> None:
    await cursor.execute(QUERIES["forget"].encode(), {"id": aside.id})
    await record(cursor.connection, OPERATOR, action, aside.person_id, connection_id=aside.id, **detail)
