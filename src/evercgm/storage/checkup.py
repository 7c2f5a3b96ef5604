"""What the database tells a check-up: its clock, its migrations, the keys in use, connections by state. Counts only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from evercgm.core.errors import EvercgmError
from evercgm.core.limits import Place
from evercgm.storage import sealed
from evercgm.storage.database import Connection, Database, load_queries
from evercgm.storage.schema.migration_files import migrations

QUERIES = load_queries("checkup.sql")


class LookFailed(EvercgmError):
    """The database did not tell; the text is the class of its refusal."""


@dataclass(frozen=True, slots=True)
class Group:
    """Connections of one kind; ``ours`` is false for those of the host app."""

    provider: str
    region: str | None
    status: str
    reason: str | None
    ours: bool
    count: int


@dataclass(frozen=True, slots=True)
class Look:
    """``now``: the database's clock. ``pending`` None: its history may not be read. ``sealed``: values by key id.

    ``pauses``: for what each place is paused, until a call was answered there.
    """

    now: datetime
    pending: Sequence[str] | None
    sealed: Mapping[str | None, int]
    groups: Sequence[Group]
    pauses: Mapping[Place, str]


async def look(db: Database) -> Look:
    """All of it in one transaction. Raises LookFailed."""
    try:
        async with db.as_worker() as conn:
            clock = await (await conn.execute(QUERIES["clock"])).fetchone()
            pending = await _pending(conn)
            keys = await sealed.named_keys(conn)
            groups = await (await conn.execute(QUERIES["connections"])).fetchall()
            pauses = await (await conn.execute(QUERIES["pauses"])).fetchall()
    except psycopg.Error as failure:
        raise LookFailed(type(failure).__name__) from None
    if clock is None:
        raise LookFailed("no clock")
    return Look(
        now=clock["now"],
        pending=pending,
        sealed=keys,
        groups=[
            Group(row["provider"], row["region"], row["status"], row["reason"], row["ours"], row["connections"])
            for row in groups
        ],
        pauses={(row["provider"], row["region"]): row["reason"] for row in pauses},
    )


async def _pending(conn: Connection) -> list[str] | None:
    there = await (await conn.execute(QUERIES["history_there"])).fetchone()
    if there is None or not there["there"]:
        return None
    recorded = {row["version"] for row in await (await conn.execute(QUERIES["recorded"])).fetchall()}
    return [migration.version for migration in migrations() if migration.version not in recorded]


async def old_consents(db: Database, provider: str, age: timedelta) -> Mapping[str | None, int]:
    """How many working connections have a consent of at least this age, by region. Raises LookFailed."""
    try:
        async with db.as_worker() as conn:
            cursor = await conn.execute(QUERIES["old_consents"], {"provider": provider, "age": age})
            return {row["region"]: row["connections"] for row in await cursor.fetchall()}
    except psycopg.Error as failure:
        raise LookFailed(type(failure).__name__) from None


async def is_first_in_alarm(conn: Connection, *, place: Place, connection_id: str | None, reason: str) -> bool:
    """Whether no other connection of the region has this reason; whoever asks next sees what we commit.

    ``connection_id`` None: no connection at all has it. A way in beside others is no connection's own: nobody has it.
    """
    return await _is_first(conn, "others_in_alarm", place, connection_id, reason)


async def is_first_route_in_alarm(conn: Connection, *, place: Place, connection_id: str | None, reason: str) -> bool:
    """As ``is_first_in_alarm``, of the ways in beside a connection's own."""
    return await _is_first(conn, "routes_in_alarm", place, connection_id, reason)


async def _is_first(conn: Connection, query: str, place: Place, connection_id: str | None, reason: str) -> bool:
    values = {"provider": place[0], "region": place[1], "connection_id": connection_id or "", "reason": reason}
    await conn.execute(QUERIES["lock_alarm"], values)
    row = await (await conn.execute(QUERIES[query], values)).fetchone()
    return row is not None and not row["others"]
