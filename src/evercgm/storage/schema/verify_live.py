"""L1: isolation, refused writing, cascade and SET NULL, tried with two made-up people; all of it is rolled back.

Nothing of it is ever committed: no row, no notification, and no sequence of ours is drawn from. Locks last for some
milliseconds, on rows that only this transaction knows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.core.errors import EvercgmError
from evercgm.storage.database import load_queries
from evercgm.storage.schema.verify_findings import CONNECTIONS, PERSON, READINGS, Check

QUERIES = load_queries("schema/verify_live.sql")
REFUSED = "42501"
_TIMEOUTS = "select set_config('lock_timeout', '5s', true), set_config('statement_timeout', '30s', true)"
Ids = Mapping[str, str]


class NotTried(EvercgmError):
    """The proof cannot be tried here; the text says why."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a statement did: the rows it gave, how many it touched, or the SQLSTATE of its refusal."""

    rows: list[dict[str, Any]]
    touched: int
    refused: str = ""


async def check_live(connection: AsyncConnection[Any]) -> list[Check]:
    """The proof, or one ``unknown`` with the reason. The role must be able to add persons and become authenticated."""
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(_TIMEOUTS)
            await _look_ahead(connection)
            return await _try(connection)
    except NotTried as failure:
        reason = str(failure)
    except psycopg.Error as failure:
        reason = f"the database refuses ({_named(failure)})"
    return [Check("L1", "unknown", CONNECTIONS, "two made-up people who cannot see each other", reason)]


async def _look_ahead(connection: AsyncConnection[Any]) -> None:
    reason = (await _run(connection, "hindrance")).rows[0]["reason"]
    if reason:
        raise NotTried(reason)
    for table in (await _run(connection, "tables")).rows:
        if not table["there"]:
            raise NotTried(f"there is no table {table['name']}")
        if not table["writable"]:
            raise NotTried(f"this role may not add to {table['name']} and delete from it")
        if table["filtered"]:
            raise NotTried(f"row-level security hides rows of {table['name']} from this role")
    demands = [row["name"] for row in (await _run(connection, "demands")).rows]
    if demands:
        raise NotTried(f"made-up rows would have to fill columns of the host app: {', '.join(demands)}")


async def _try(connection: AsyncConnection[Any]) -> list[Check]:
    ids = {name: str(uuid4()) for name in ("a", "b", "fresh", "owner_a", "owner_b")}
    for query in ("make", "make_readings"):
        made = await _attempt(connection, query, ids)
        if made.refused:
            raise NotTried(f"two made-up persons cannot be stored here ({made.refused})")
    return [
        _seen_connections(await _as_a(connection, "see", ids), ids),
        _seen_readings(await _as_a(connection, "see_readings", ids), ids),
        _inserted(await _as_a(connection, "insert_foreign", ids)),
        _changed("update", await _as_a(connection, "update_foreign", ids)),
        _changed("delete", await _as_a(connection, "delete_foreign", ids)),
        await _unlinking(connection, ids),
        await _cascading(connection, ids),
    ]


def _seen_connections(outcome: _Outcome, ids: Ids) -> Check:
    about, expected = f"{CONNECTIONS}: select", "an owner sees their own connection and no other"
    seen = {row["id"] for row in outcome.rows}
    if outcome.refused == REFUSED:
        found = f"authenticated may not read it or {PERSON} (42501): nobody sees another's, nor their own"
        return Check("L1", "warn", about, expected, found, "R5 and G2 say which grant is missing.")
    if outcome.refused:
        return Check("L1", "fail", about, expected, f"refused ({outcome.refused})")
    if ids["b"] in seen:
        return Check("L1", "fail", about, expected, "another's connection is seen, too")
    return Check("L1", "ok" if seen else "fail", about, expected, "so" if seen else "not even the own one is seen")


def _seen_readings(outcome: _Outcome, ids: Ids) -> Check:
    about, expected = f"{READINGS}: select", "nobody sees another's readings"
    if ids["b"] in {row["id"] for row in outcome.rows}:
        return Check(
            "L1", "warn", about, expected, "another's reading is seen, too", "It is the host app's table: see R6."
        )
    return Check("L1", "ok", about, expected, f"refused ({outcome.refused})" if outcome.refused else "so")


def _inserted(outcome: _Outcome) -> Check:
    about, expected = f"{CONNECTIONS}: insert for another's person", "refused (42501)"
    found = f"refused ({outcome.refused})" if outcome.refused else "a row was stored"
    return Check("L1", "ok" if outcome.refused == REFUSED else "fail", about, expected, found)


def _changed(verb: str, outcome: _Outcome) -> Check:
    about, expected = f"{CONNECTIONS}: {verb} of another's", "0 rows, or refused (42501)"
    found = f"refused ({outcome.refused})" if outcome.refused else f"{outcome.touched} rows"
    good = outcome.refused == REFUSED or not (outcome.refused or outcome.touched)
    return Check("L1", "ok" if good else "fail", about, expected, found)


async def _unlinking(connection: AsyncConnection[Any], ids: Ids) -> Check:
    """An owner deletes their connection; where the API's role may not, this role does."""
    how = "through row-level security"
    outcome = await _as_a(connection, "delete_own_connection", ids, keep=True)
    if outcome.refused or not outcome.touched:
        how = "by this role: the owner may not"
        outcome = await _attempt(connection, "delete_own_connection", ids)
    left = await _left(connection, ids["a"])
    good = (left["connections"], left["readings"], left["linked"]) == (0, 1, 0)
    expected = "a deleted connection leaves its reading, unlinked"
    found = f"so ({how})" if good else _told(outcome, left)
    return Check("L1", "ok" if good else "fail", f"{READINGS}: SET NULL", expected, found)


async def _cascading(connection: AsyncConnection[Any], ids: Ids) -> Check:
    outcome = await _attempt(connection, "delete_person", ids)
    left = await _left(connection, ids["b"])
    good = not any(left.values())
    expected = "a deleted person takes connections and readings along"
    found = "so" if good else _told(outcome, left)
    return Check("L1", "ok" if good else "fail", f"{CONNECTIONS}: CASCADE", expected, found)


def _told(outcome: _Outcome, left: Mapping[str, int]) -> str:
    if outcome.refused:
        return f"refused ({outcome.refused})"
    return "left are " + ", ".join(f"{count} {name}" for name, count in left.items())


async def _left(connection: AsyncConnection[Any], one: str) -> dict[str, int]:
    return dict((await _run(connection, "left_of", {"one": one})).rows[0])


async def _as_a(connection: AsyncConnection[Any], query: str, ids: Ids, *, keep: bool = False) -> _Outcome:
    """Run a query as the first of the two; what it did is taken back unless it is to be kept."""
    claims = json.dumps({"sub": ids["owner_a"], "role": "authenticated"})
    row = await (await connection.execute("select current_setting('role')")).fetchone()
    ourselves = next(iter(row.values())) if isinstance(row, dict) else row[0] if row else "none"
    try:
        async with connection.transaction(force_rollback=not keep):
            await _run(connection, "become", {"claims": claims})
            outcome = await _run(connection, query, ids)
            await connection.execute("select set_config('role', %s, true)", [ourselves])
    except psycopg.Error as failure:
        return _Outcome([], 0, failure.sqlstate or type(failure).__name__)
    return outcome


async def _attempt(connection: AsyncConnection[Any], query: str, ids: Ids) -> _Outcome:
    try:
        async with connection.transaction():
            return await _run(connection, query, ids)
    except psycopg.Error as failure:
        return _Outcome([], 0, _named(failure))


async def _run(connection: AsyncConnection[Any], query: str, values: Ids | None = None) -> _Outcome:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(QUERIES[query].encode(), values)
    return _Outcome(await cursor.fetchall() if cursor.description else [], cursor.rowcount)


def _named(failure: psycopg.Error) -> str:
    """The class of a refusal and what it names; its text could carry values."""
    about = failure.diag.constraint_name or failure.diag.column_name or ""
    return " ".join(filter(None, [failure.sqlstate or type(failure).__name__, about]))
