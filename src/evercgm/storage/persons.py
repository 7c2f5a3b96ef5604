"""Persons of standalone mode; runs with the migrating role, which owns the host app's stand-in tables."""

import uuid
from dataclasses import dataclass

from psycopg.rows import dict_row

from evercgm.core.audit import OPERATOR
from evercgm.core.errors import BadInput
from evercgm.storage import audit
from evercgm.storage.address import connect
from evercgm.storage.database import Connection, load_queries

QUERIES = load_queries("persons.sql")
LONGEST_LABEL = 80


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who wears a sensor; ``owner_id`` is who signs in for them."""

    id: str
    owner_id: str
    label: str


async def _connect(dsn: str) -> Connection:
    return await connect(dsn, "MIGRATION_DATABASE_URL", row_factory=dict_row)


async def add_person(dsn: str, owner_id: str, label: str) -> Person:
    """A new person of this owner. Raises BadInput(label): empty, longer than 80 characters, control characters."""
    label = label.strip()
    if not 1 <= len(label) <= LONGEST_LABEL or not label.isprintable():
        raise BadInput("label", f"give 1 to {LONGEST_LABEL} printable characters")
    person = Person(str(uuid.uuid4()), owner_id, label)
    values = {"id": person.id, "owner_id": owner_id, "label": label}
    async with await _connect(dsn) as conn:
        await conn.execute(QUERIES["add_person"], values)
        await conn.execute(QUERIES["add_settings"], values)
        await audit.record(conn, OPERATOR, "person_added", person.id)
    return person


async def list_persons(dsn: str, owner_id: str | None = None) -> list[Person]:
    """All persons, or one owner's."""
    async with await _connect(dsn) as conn:
        rows = await (await conn.execute(QUERIES["list_persons"], {"owner_id": owner_id})).fetchall()
    return [Person(row["id"], row["owner_id"], row["label"]) for row in rows]


async def the_owner(dsn: str) -> str:
    """The one owner there is, a new id where there is none. Raises BadInput(owner) where there are several."""
    async with await _connect(dsn) as conn:
        rows = await (await conn.execute(QUERIES["owners"])).fetchall()
    if len(rows) > 1:
        raise BadInput("owner", "there are several owners here; name one by --owner UUID (see: evercgm person list)")
    return str(rows[0]["owner_id"]) if rows else str(uuid.uuid4())
