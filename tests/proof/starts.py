"""The four starting points of database.md, laid into an empty database; and the shape that each must end in."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection

from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.catalog import read_snapshot
from evercgm.storage.schema.snapshot import Snapshot

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
STARTS = ("empty", "host-only", "staging", "production")
# What a migration may move: connections, readings, and what is put aside.
ROWS = """
select 'connection', c.id, to_jsonb(c) - 'created_at' from public.cgm_connections c
union all
select 'reading', r.id, to_jsonb(r) - 'created_at' from public.glucose_readings r
union all
select 'quarantined', q.id, to_jsonb(q) - 'created_at' #- '{connection,created_at}'
  from cgm_private.quarantined_connections q
order by 1, 2
"""
# What is left of production when nothing of the connections was ever there.
_HOST_ONLY = """
alter table public.glucose_readings drop column cgm_connection_id;
drop table public.cgm_connections;
drop type public."CGMConnectionStatus", public."CGMProvider";
"""


async def lay(database: Any, start: str, *, host_rls: str = "off", auto_grants: str = "on") -> None:
    """Bring an empty database to a starting point; the two knobs are those of the sample files."""
    if start == "empty":
        await bootstrap_standalone(database.owner_dsn)
        return
    file = SHARED / f"database/{'staging' if start == 'staging' else 'production'}.sql"
    assert file.is_file(), f"{file} is missing"
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute(f"set seed.host_rls = '{host_rls}'".encode())
        connection.execute(f"set seed.auto_grants = '{auto_grants}'".encode())
        connection.execute(file.read_bytes())
        if start == "host-only":
            connection.execute(_HOST_ONLY.encode())


def migrating_dsn(database: Any, start: str) -> str:
    """Who owns the objects of a start, and so migrates it."""
    return str(database.owner_dsn if start == "empty" else database.admin_dsn)


async def snapshot_of(dsn: str) -> Snapshot:
    """The shape, as the migrating role sees it."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await read_snapshot(connection)
