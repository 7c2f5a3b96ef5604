"""What the benchmarks share: a durable PostgreSQL, a person, a vendor apart, and the rows of the table."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from bench.vendor import key_of
from evercgm.core.tokens import Secret, Tokens
from evercgm.provider_kit.contract import VendorApp
from evercgm.provider_kit.send import Answer, send
from evercgm.provider_kit.vendors import Vendors, open_vendors
from evercgm.providers import PROVIDERS
from evercgm.providers.dexcom import client as dexcom
from evercgm.storage import connections, embedded
from evercgm.storage.budgets import Budgets
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import OWNER, Embedded
from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.prepare import prepare
from evercgm.storage.vault import Vault

STREAM = "dexcom/dexcom/account"
Plain = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Bar:
    """One line of the table: medians, the ratio that the bar speaks of, and whether it is reached (None: no bar)."""

    name: str
    ours: str
    plain: str
    ratio: str
    reach: str
    reached: bool | None
    notes: Sequence[str] = ()


def is_big() -> bool:
    """Whether what takes tens of gigabytes and many minutes is wanted, too: ``BIG=1``."""
    return os.environ.get("BIG", "") not in ("", "0")


def not_run(name: str, reach: str, needs: str) -> Bar:
    """The line of a bar that is measured with ``BIG=1`` alone."""
    return Bar(name, "not run: BIG", "", "", reach, None, (f"BIG=1 runs it: {needs}",))


@dataclass
class Spent:
    """Wall and client CPU seconds of one round, with the share of the GETs apart."""

    wall: float = 0.0
    cpu: float = 0.0
    get_wall: float = 0.0
    get_cpu: float = 0.0


@dataclass(frozen=True)
class Person:
    """An owner's person with a connection."""

    owner_id: str
    person_id: str
    connection_id: str


@dataclass
class Bench:
    """Our way in (``db``, ``vendors``), the plain one (``plain``, as the tables' owner), and the GETs' clock."""

    server: Embedded
    db: Database
    vendors: Vendors
    plain: Plain
    base_url: str
    gets: Spent = field(default_factory=Spent)

    async def get(self, kind: str, params: Mapping[str, str]) -> bytes:
        """The plain way's GET: the same client, the same call."""
        url = f"{self.base_url}{dexcom.DATA_PATH}{kind}"
        return (await self.timed_send(self.vendors.client("dexcom", "us"), "GET", url, headers={}, params=params)).body

    async def timed_send(self, http: httpx2.AsyncClient, method: str, url: str, **more: Any) -> Answer:
        """``provider_kit.send.send``, its time noted apart."""
        wall, cpu = time.perf_counter(), time.process_time()
        answer = await send(http, method, url, **more)
        self.gets.get_wall += time.perf_counter() - wall
        self.gets.get_cpu += time.process_time() - cpu
        return answer


@contextmanager
def scratch_server() -> Iterator[Embedded]:
    """The embedded PostgreSQL as a user gets it, fsync and synchronous commit on, and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="evercgm-bench-"))
    folder.chmod(0o755)
    try:
        server = embedded.start(folder)
        asyncio.run(prepare(server))
        yield server
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def beside(dsn: str, database: str) -> str:
    """The way into another database of the same server."""
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


async def execute(dsn: str, statement: sql.Composed | sql.SQL) -> None:
    """One statement, outside a transaction."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        await admin.execute(statement)


async def make_database(server: Embedded, name: str) -> None:
    """An empty migrated database of the tables' owner."""
    words = sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(OWNER))
    await execute(server.superuser_dsn, words)
    await bootstrap_standalone(beside(server.owner_dsn, name))
    await migrate(beside(server.owner_dsn, name))


@contextmanager
def child(*words: str) -> Iterator[int]:
    """A process of ours that prints its port; ended afterwards."""
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def vendor(answers: Mapping[tuple[str, str], str], after_s: float = 0.0) -> Iterator[str]:
    """The static vendor's base address; answers by (kind, query), after so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.json"
        path.write_text(json.dumps({key_of(f"/{kind}?{query}"): body for (kind, query), body in answers.items()}))
        with child("bench.vendor", str(path), str(after_s)) as port:
            yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def open_bench(server: Embedded, base_url: str, key: bytes | None = None) -> AsyncIterator[Bench]:
    """Everything opened; the Dexcom client's calls are timed. ``key``: 32 bytes, where others open our tokens, too."""
    app = VendorApp("us", base_url, "client", Secret("secret"), "http://cgm.test/callback")
    async with (
        open_database(server.service_dsn, Vault(key or secrets.token_bytes(32))) as db,
        open_vendors(PROVIDERS, {("dexcom", "us"): app}, Budgets(db)) as vendors,
        await psycopg.AsyncConnection.connect(server.owner_dsn, autocommit=True) as plain,
    ):
        bench = Bench(server, db, vendors, plain, base_url)
        vars(dexcom)["send"] = bench.timed_send
        try:
            yield bench
        finally:
            vars(dexcom)["send"] = send


async def drop_database(server: Embedded, name: str) -> None:
    """Gone, whoever is connected."""
    await execute(server.superuser_dsn, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def add_person(bench: Bench) -> Person:
    """A new person with a connection that was just made."""
    owner_id, person_id = str(uuid.uuid4()), str(uuid.uuid4())
    async with await psycopg.AsyncConnection.connect(bench.server.superuser_dsn, autocommit=True) as admin:
        await admin.execute('insert into public."Person" (id, "ownerId") values (%s, %s)', (person_id, owner_id))
    tokens = Tokens(Secret("access"), Secret("refresh"), datetime.now(UTC) + timedelta(hours=2), 7200)
    async with bench.db.as_worker() as conn:
        connection_id = await connections.store_connected(
            conn, bench.db.vault, person_id=person_id, provider="dexcom", region="us", account_id=None, tokens=tokens
        )
    return Person(owner_id, person_id, connection_id)


@asynccontextmanager
async def measured(bench: Bench) -> AsyncIterator[Spent]:
    """Wall and CPU of what is done inside."""
    bench.gets = spent = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.wall, spent.cpu = time.perf_counter() - wall, time.process_time() - cpu


def ms(seconds: Sequence[float]) -> float:
    """The median in milliseconds."""
    return median(seconds) * 1000


def ratio_of(ours: Sequence[float], plain: Sequence[float]) -> float:
    """The ratio of the medians."""
    return median(ours) / median(plain)
