"""Databases that the checks look at: the two shapes of the report, and mutations that are never committed."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection

from evercgm.storage.schema.verify import Wish, verify
from evercgm.storage.schema.verify_findings import Check


def load(dsn: str, file: Path, *, host_rls: str = "off", auto_grants: str = "on") -> None:
    """Load one of the two shapes, with its knobs."""
    assert file.is_file(), f"{file} is missing"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"set seed.host_rls = '{host_rls}'".encode())
        connection.execute(f"set seed.auto_grants = '{auto_grants}'".encode())
        connection.execute(file.read_bytes())


async def look(dsn: str, mutation: str = "", **wish: Any) -> list[Check]:
    """The checks after a mutation; both in one transaction that is taken back."""
    async with await AsyncConnection.connect(dsn) as connection:
        if mutation:
            await connection.execute(mutation.encode())
        checks = await verify(connection, Wish(**wish))
        await connection.rollback()
    return checks


def not_ok(checks: Collection[Check], *ids: str) -> set[tuple[str, str, str]]:
    """(id, status, object) of what is not well, of these ids or of all."""
    return {(one.id, one.status, one.object) for one in checks if one.status != "ok" and (not ids or one.id in ids)}


def statuses(checks: Collection[Check]) -> dict[str, str]:
    """The worst status of each id."""
    order = ("ok", "warn", "unknown", "fail")
    return {
        id_: max((one.status for one in checks if one.id == id_), key=order.index)
        for id_ in dict.fromkeys(one.id for one in checks)
    }
