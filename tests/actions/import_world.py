"""Files of one person on a real database, beside what a cloud brings of the same sensor."""

import io
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from one_person import make_person

from evercgm.actions.import_file import Report, import_for
from evercgm.core.reading import Batch, Reading
from evercgm.file_imports.parsed import Answers
from evercgm.storage import readings
from evercgm.storage.database import Database, open_database
from evercgm.storage.readings import Owner, Saved
from evercgm.storage.vault import Vault

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
PERSON, CONNECTION = "p-1", "c-1"
CLOUD = Owner(PERSON, CONNECTION, "dexcom/dexcom/account")


@dataclass(frozen=True)
class ImportWorld:
    """One person of one owner, with a connection at Dexcom."""

    db: Database
    admin_dsn: str

    async def take(self, body: bytes, zone: str = "UTC", person: str = PERSON) -> Report:
        return await import_for(self.db, person, io.BytesIO(body), Answers(zone), NOW)

    async def cloud(self, *found: Reading, owner: Owner = CLOUD) -> Saved:
        async with self.db.as_worker() as conn:
            return await readings.save(conn, owner, Batch(found, (), "account"))

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as conn:
            conn.execute("set time zone 'UTC'")
            cursor = conn.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def stored(self) -> list[tuple[str, float]]:
        """Time and value of each reading."""
        return [
            (at.isoformat(), value)
            for at, value in self.sql('select "timestamp", value from public.glucose_readings order by 1, 2')
        ]


@asynccontextmanager
async def open_import_world(database: Any) -> AsyncIterator[ImportWorld]:
    make_person(database.owner_dsn)
    with psycopg.connect(database.owner_dsn) as conn:
        conn.execute(
            "insert into cgm_private.sync_state (connection_id, person_id, provider, region)"
            " values ('c-1', 'p-1', 'dexcom', 'us')"
        )
    async with open_database(database.service_dsn, Vault(secrets.token_bytes(32)), largest=3) as db:
        yield ImportWorld(db, database.admin_dsn)
