"""The service at work among a crowd: one person of it, the pool as the service has it, and an ear for plans."""

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx2
import psycopg
from api_world import make_vendors
from bench.crowd import id_of, newest, owner_of, stream_of
from plans import Ear, Statement, names_by_sent_text

from evercgm.core.caller import Caller
from evercgm.core.reading import Reading
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import Survey
from evercgm.provider_kit.vendors import Vendors
from evercgm.storage import connections
from evercgm.storage.connections import Loaded
from evercgm.storage.database import Database, open_database
from evercgm.storage.readings import Owner
from evercgm.storage.vault import Vault
from evercgm.worker.run import BECOME_WORKER

A_DAY = timedelta(days=1)
OWNER_ID = owner_of(1)
PERSON_ID, SECOND_ID = id_of("person", 1), id_of("person", 2)
CONNECTION_ID = id_of("connection", 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """``db`` and ``engine`` (the worker's own connection) are listened to; ``admin`` is not."""

    db: Database
    vendors: Vendors
    engine: psycopg.AsyncConnection[Any]
    admin: psycopg.AsyncConnection[Any]
    caller: Caller
    ear: Ear
    marks: Iterator[int] = field(default_factory=count)

    @property
    def owner(self) -> Owner:
        return stream_of(1)

    async def change(self, statement: str, *values: object) -> None:
        """What somebody else did meanwhile."""
        await self.admin.execute(statement.encode(), values)

    async def loaded(self) -> Loaded:
        """The person's connection as a sync begins with it."""
        found = await connections.load_for_sync(self.db, CONNECTION_ID)
        assert found is not None
        return found

    async def last_day(self) -> list[Reading]:
        """What the vendor would send of the last day, oldest first: all of it is stored."""
        return await newest(self.admin, 1)

    def another_account(self) -> Vendors:
        """The vendors, where whoever signs in next does so with another account than before."""
        account = f"account-{next(self.marks)}"

        async def survey(*_: Any) -> Survey:
            return Survey(account, None, None, None)

        provider = replace(self.vendors.providers["dexcom"], survey=survey)
        return Vendors({"dexcom": provider}, self.vendors.apps, {("dexcom", "us"): self.vendors.client("dexcom", "us")})

    def fresh_readings(self, number: int) -> list[Reading]:
        """Readings that nobody has seen before, one a second; no two calls within a minute of one another."""
        mark = next(self.marks)
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10) * (mark + 1)
        return [
            Reading(f"fresh-{mark}-{n}", start + timedelta(seconds=n), 100 + n % 90, None, "flat", 0.1, 60)
            for n in range(number)
        ]

    async def hear(self, deed: Any) -> Sequence[Statement]:
        """What the database did for a deed."""
        self.ear.heard.clear()
        await deed(self)
        return list(self.ear.heard)


@asynccontextmanager
async def open_scene(database: Any) -> AsyncIterator[Scene]:
    """On a database with a crowd, from which plans are told."""
    vault = Vault(secrets.token_bytes(32))
    ear = Ear(names_by_sent_text())
    options = {"autocommit": True, "options": BECOME_WORKER, "prepare_threshold": None}
    async with (
        open_database(database.service_dsn, vault, largest=1) as db,
        await psycopg.AsyncConnection.connect(database.service_dsn, **options) as engine,
        await psycopg.AsyncConnection.connect(database.admin_dsn, autocommit=True) as admin,
        httpx2.AsyncClient() as http,
    ):
        async with db.as_worker() as conn:
            ear.listen(conn)
        ear.listen(engine)
        claims = {"sub": OWNER_ID, "role": "authenticated", "aud": "authenticated"}
        scene = Scene(db, make_vendors(http), engine, admin, Caller(OWNER_ID, claims), ear)
        await _seal_tokens(scene)
        yield scene


async def _seal_tokens(scene: Scene) -> None:
    vault = scene.db.vault
    await scene.change(
        "update public.cgm_connections set access_token = %s, refresh_token = %s where id = %s",
        vault.seal(Secret("access"), connections.access_place(CONNECTION_ID)),
        vault.seal(Secret("refresh"), connections.refresh_place(CONNECTION_ID)),
        CONNECTION_ID,
    )
