"""Deletes what the service holds of one person, and counts it before; the host app's own rows only where asked."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evercgm.core.erasure import Erasure, HostRows, Rows
from evercgm.storage import attempts, jobs, readings
from evercgm.storage.database import Connection, Row, load_queries

QUERIES = load_queries("erase.sql")


@dataclass(frozen=True, slots=True)
class Scope:
    """How far it reaches: our rows up to ``before``, the host's readings up to ``host_before`` (None: none of them).

    Aware UTC; ``infinity`` is all there is, whatever its time.
    """

    before: datetime | str
    host_before: datetime | str | None


def everything(all_readings: bool) -> Scope:
    """All that we hold; with ``all_readings`` the host's own readings as well."""
    return Scope("infinity", "infinity" if all_readings else None)


async def is_there(conn: Connection, person_id: str) -> bool:
    """Whether there is such a person at all."""
    return await (await conn.execute(QUERIES["person_there"], {"person_id": person_id})).fetchone() is not None


async def count(conn: Connection, person_id: str, scope: Scope) -> tuple[Rows, HostRows]:
    """As the worker: what ``erase`` would delete in this scope, and what it would leave."""
    values = await _values(conn, person_id, scope)
    erased: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for row in await _rows(conn, "readings", values):
        (erased if row["ours"] or row["wanted"] else kept)[row["source"]] += row["readings"]
    rows = await _one(conn, "rows", values)
    waiting = await jobs.count_syncs(conn, values["connection_ids"])
    host = await _one(conn, "host_connections", values)
    return Rows(readings=dict(erased), jobs=waiting, **rows), HostRows(dict(kept), host["connections"])


async def erase(conn: Connection, person_id: str, scope: Scope) -> tuple[Rows, HostRows]:
    """As the worker, in the caller's transaction: delete, and tell how much went and what stays."""
    await attempts.lock_person(conn, person_id)
    await conn.execute(QUERIES["lock_connections"], {"person_id": person_id})
    await readings.lock_person(conn, person_id)
    values = await _values(conn, person_id, scope)
    gone = {row["source"]: row["readings"] for row in await _rows(conn, "erase_readings", values)}
    waiting = await jobs.forget_syncs(conn, values["connection_ids"])
    rows = await _one(conn, "erase_rows", values)
    connections = (await conn.execute(QUERIES["erase_connections"], values)).rowcount
    _, host = await count(conn, person_id, scope)
    return Rows(readings=gone, connections=connections, jobs=waiting, **rows), host


async def note_erased(conn: Connection, person_id: str, erased_at: datetime | None) -> datetime:
    """Remember that it happened, at this moment or as a list says; never an earlier time than what is known."""
    row = await _one(conn, "note_erased", {"person_id": person_id, "erased_at": erased_at})
    noted: datetime = row["erased_at"]
    return noted


async def is_noted(conn: Connection, erasure: Erasure) -> bool:
    """Whether the record of deeds tells of it already."""
    values = {
        "person_id": erasure.person_id,
        "erased_at": erasure.erased_at,
        "all_readings_at": erasure.all_readings_at,
    }
    found = await _rows(conn, "noted", values)
    return bool(found and found[0]["noted"])


async def erased_persons(conn: Connection) -> list[Erasure]:
    """All of them, the oldest erasure first."""
    rows = await _rows(conn, "erased_persons", {})
    return [Erasure(row["person_id"], row["erased_at"], row["all_readings_at"]) for row in rows]


async def _values(conn: Connection, person_id: str, scope: Scope) -> dict[str, Any]:
    values = {"person_id": person_id, "before": scope.before, "host_before": scope.host_before}
    found = await _rows(conn, "our_connections", values)
    return {**values, "connection_ids": [row["id"] for row in found]}


async def _rows(conn: Connection, query: str, values: dict[str, Any]) -> list[Row]:
    return await (await conn.execute(QUERIES[query], values)).fetchall()


async def _one(conn: Connection, query: str, values: dict[str, Any]) -> Row:
    (row,) = await _rows(conn, query, values)
    return row
