"""``target.json`` says what each migration makes; the real database is the judge.

After a change of a migration: UPDATE_TARGET=1 pytest tests/storage/schema/test_target.py, then read the diff.
"""

import os
from pathlib import Path

from psycopg import AsyncConnection

import evercgm.storage.schema
from evercgm.storage.schema import target
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.catalog import read_snapshot
from evercgm.storage.schema.migration_files import migrations

FILE = Path(evercgm.storage.schema.__file__).parent / target.FILE


async def test_each_migration_makes_what_the_target_says(make_empty_database):
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)

    made = {}
    async with await AsyncConnection.connect(fresh.owner_dsn, autocommit=True) as connection:
        before = (await read_snapshot(connection)).entries
        for migration in migrations():
            async with connection.transaction():
                await connection.execute(migration.text().encode())
            after = (await read_snapshot(connection)).entries
            made[migration.version] = target.added(before, after)
            before = after

    if os.environ.get("UPDATE_TARGET"):
        FILE.write_text(target.to_text(made), encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == target.to_text(made)


def test_every_object_is_closed_by_the_last_migration_that_forms_it():
    keys = {str(key): target.maker_of(key) for key in target.finished()}

    assert keys["column public.cgm_connections.provider"] == "20261124000001"
    assert keys["column public.cgm_connections.access_token"] == "20251016000001"
    assert keys['policy public.cgm_connections "Users can view own CGM connections"'] == "20261124000003"
