"""Whether this process can serve: the database answers, it has all migrations, the key seals and opens."""

from collections.abc import Mapping
from typing import Literal

import psycopg

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import Secret
from evercgm.storage.database import Database, load_queries
from evercgm.storage.schema.migration_files import migrations
from evercgm.storage.vault import Place, Vault

QUERIES = load_queries("readiness.sql")
State = Literal["ok", "failed"]


async def check(db: Database) -> Mapping[str, State]:
    """``database``, ``migrations`` and ``key``, each ok or failed; never raises for what it looks at."""
    database, migrations = await _look(db)
    return {"database": database, "migrations": migrations, "key": _key(db.vault)}


async def _look(db: Database) -> tuple[State, State]:
    try:
        async with db.as_worker() as conn:
            reachable = await (await conn.execute(QUERIES["history_there"])).fetchone()
            if not reachable or not reachable["there"]:
                return "ok", "failed"
            row = await (
                await conn.execute(QUERIES["migration_recorded"], {"version": migrations()[-1].version})
            ).fetchone()
    except psycopg.Error:
        return "failed", "failed"
    return "ok", "ok" if row else "failed"


def _key(vault: Vault) -> State:
    place, probe = Place("readiness", "probe", "probe"), Secret("probe")
    try:
        return "ok" if vault.open(vault.seal(probe, place), place) == probe else "failed"
    except SealBroken:
        return "failed"
