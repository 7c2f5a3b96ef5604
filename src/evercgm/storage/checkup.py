"""What the database tells a check-up: its clock, its migrations, the keys in use, connections by state. Counts only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from evercgm.core.errors import EvercgmError
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
    """``now``: the database's clock. ``pending`` None: its history may not be read. ``sealed``: values by key id."""

    now: datetime
    pending: Sequence[str] | None
    sealed: Mapping[str | None, int]
    groups: Sequence[Group]


async def look(db: Database) -> Look:
    """All of it in one transaction. Raises LookFailed."""
    try:
        async with db.as_worker() as conn:
            clock = await (await conn.execute(QUERIES["clock"])).fetchone()
            pending = await _pending(conn)
            keys = await sealed.named_keys(conn)
            groups = await (await conn.execute(QUERIES["connections"])).fetchall()
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


async def is_first_in_alarm(conn: Connection, *, provider: str, region: str, connection_id: str, reason: str) -> bool:
    """Whether no other connection of the region has this reason; whoever asks next sees what we commit."""
    values = {"provider": provider, "region": region, "connection_id": connection_id, "reason": reason}
    await conn.execute(QUERIES["lock_alarm"], values)
    row = await (await conn.execute(QUERIES["others_in_alarm"], values)).fetchone()
    return row is not None and not row["others"]
