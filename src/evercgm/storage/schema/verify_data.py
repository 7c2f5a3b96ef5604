"""D1 to D3: counts of rows that do not fit. Counts only; no value leaves the database."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.core.errors import EvercgmError
from evercgm.storage import sealed
from evercgm.storage.database import load_queries
from evercgm.storage.schema.verify_findings import CONNECTIONS, PERSON, READINGS, Check, Seen, Status

QUERIES = {**load_queries("schema/verify.sql"), "named_keys": sealed.QUERIES["named_keys"]}
PATIENCE_MS = 120_000
QUARANTINE = "cgm_private.quarantined_connections"
_SEALED = sorted({store.relation for store in sealed.STORES})
Rows = list[dict[str, Any]]


class NotTold(EvercgmError):
    """The rows cannot be counted; the text says why."""


async def check_data(connection: AsyncConnection[Any], seen: Seen, key_ids: Collection[str]) -> list[Check]:
    """D1 to D3; ``key_ids`` name the keys of our ring, none where no key is set here."""
    parts: Sequence[tuple[str, str, Callable[[], Awaitable[list[Check]]]]] = (
        ("D1", PERSON, lambda: _owners(connection)),
        ("D1", f"{READINGS}.cgm_connection_id", lambda: _foreign_readings(connection)),
        ("D1", READINGS, lambda: _duplicates(connection)),
        ("D2", CONNECTIONS, lambda: _tokens(connection)),
        ("D2", "key ids", lambda: _keys(connection, seen, key_ids)),
        ("D3", QUARANTINE, lambda: _quarantine(connection, seen)),
    )
    checks = []
    for id_, about, part in parts:
        try:
            checks += await part()
        except NotTold as failure:
            checks.append(Check(id_, "unknown", about, "rows that can be counted", str(failure), _ASK))
    return checks


_ASK = "Ask again as the role that owns the tables: set MIGRATION_DATABASE_URL."


async def _owners(connection: AsyncConnection[Any]) -> list[Check]:
    row = (await _count(connection, "persons", [PERSON]))[0]
    expected = "each owner is a UUID in lower case"
    found = f"{row['without_uuid']} of {row['persons']} persons have another owner"
    return [_counted("D1", f"{PERSON}.ownerId", expected, row["without_uuid"], found)]


async def _foreign_readings(connection: AsyncConnection[Any]) -> list[Check]:
    row = (await _count(connection, "readings", [READINGS, CONNECTIONS]))[0]
    expected = "each reading names a connection of its own person"
    about = f"{READINGS}.cgm_connection_id"
    return [_counted("D1", about, expected, row["of_others"], f"{row['of_others']} readings name another person's")]


async def _duplicates(connection: AsyncConnection[Any]) -> list[Check]:
    row = (await _count(connection, "duplicates", [READINGS]))[0]
    expected = "each reading is stored once"
    return [_counted("D1", READINGS, expected, row["too_many"], f"{row['too_many']} readings are copies of another")]


async def _tokens(connection: AsyncConnection[Any]) -> list[Check]:
    forms = {row["form"]: row["tokens"] for row in await _count(connection, "token_forms", [CONNECTIONS])}
    ended = (await _count(connection, "ended", [CONNECTIONS]))[0]["connections"]
    found = ", ".join(f"{count} {form}" for form, count in forms.items()) or "no connections"
    bad = forms.get("plain", 0) + forms.get("unreadable", 0)
    about = f"{CONNECTIONS}.access_token, refresh_token"
    tokens = Check("D2", "warn" if bad else "ok", about, "tokens sealed by us or by the host app, or empty", found)
    expected = "connections that are connected have access that has not ended"
    late = _counted("D2", f"{CONNECTIONS}.token_expires_at", expected, ended, f"that of {ended} has ended")
    why = "they look well, and bring no readings until they are refreshed or reconnected"
    return [
        tokens,
        replace(late, why=why, mend="evercgm serve (or work) refreshes ours; evercgm adopt takes over others."),
    ]


async def _keys(connection: AsyncConnection[Any], seen: Seen, ring: Collection[str]) -> list[Check]:
    used: dict[str, int] = {}
    query, tables = ("named_keys", _SEALED) if seen.expect == "target" else ("key_ids", [CONNECTIONS])
    for row in await _count(connection, query, tables):
        if row["key_id"] is not None:
            used[row["key_id"]] = used.get(row["key_id"], 0) + row["sealed"]
    lost = {name: count for name, count in used.items() if name not in ring}
    found = (
        ", ".join(f"{count} values sealed with {name}" for name, count in sorted(used.items())) or "nothing is sealed"
    )
    if lost and not ring:
        found += "; no key is set here to compare with"
    elif lost:
        found += f"; no key for {', '.join(sorted(lost))}"
    status: Status = "warn" if lost else "ok"
    why, mend = (
        "without its key a token is lost",
        "evercgm doctor, where the service's keys are set, says which are missing.",
    )
    return [Check("D2", status, "key ids", "a key in ENCRYPTION_KEY or _PREVIOUS for each", found, mend, why)]


async def _quarantine(connection: AsyncConnection[Any], seen: Seen) -> list[Check]:
    if seen.expect != "target":
        return [Check("D3", "ok", QUARANTINE, "none", "the table comes with the migrations")]
    rows = await _count(connection, "quarantine", [QUARANTINE])
    found = ", ".join(f"{row['connections']} ({row['reason']})" for row in rows) or "none"
    return [Check("D3", "warn" if rows else "ok", QUARANTINE, "none is open", found)]


def _counted(id_: str, about: str, expected: str, count: int, found: str) -> Check:
    return Check(id_, "warn" if count else "ok", about, expected, found if count else "so")


async def _count(connection: AsyncConnection[Any], query: str, tables: Sequence[str]) -> Rows:
    """The answer to a query, as this role or, where it may, as cgm_worker. Raises NotTold."""
    reason = ""
    for role in (None, "cgm_worker"):
        try:
            async with connection.transaction(force_rollback=True):
                cursor = connection.cursor(row_factory=dict_row)
                await cursor.execute("select set_config('statement_timeout', %s, true)", [str(PATIENCE_MS)])
                if role is None:
                    reason = await _hindrance(cursor, tables)
                    if reason:
                        continue
                else:
                    await cursor.execute("select set_config('role', %s, true)", [role])
                await cursor.execute(QUERIES[query].encode())
                return await cursor.fetchall()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
            reason = reason or f"this role may not read {', '.join(tables)}"
        except psycopg.Error as failure:
            raise NotTold(_explain(failure)) from None
    raise NotTold(reason)


async def _hindrance(cursor: Any, tables: Sequence[str]) -> str:
    await cursor.execute(QUERIES["filtered"], {"tables": list(tables)})
    row: Mapping[str, str] = await cursor.fetchone()
    return f"this role may not read all rows of {row['names']}" if row["names"] else ""


def _explain(failure: psycopg.Error) -> str:
    if isinstance(failure, psycopg.errors.QueryCanceled):
        return f"counting took longer than {PATIENCE_MS // 1000} s"
    if isinstance(failure, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "a table or column is missing"
    return f"the database refuses ({failure.sqlstate or type(failure).__name__})"
