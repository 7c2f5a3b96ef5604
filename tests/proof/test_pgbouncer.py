"""The service behind PgBouncer, transaction mode, one server connection: hundreds of calls of two owners, no leak."""

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from api_world import BASE, add_connection, add_person, add_readings
from debian_postgres import free_port
from pooler import pgbouncer, through

from evercgm.storage.database import open_database
from evercgm.storage.identity import issue_jwt, issuer_of, load_keys
from evercgm.storage.vault import Vault

CALLS = 800
AT_ONCE = 24
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = secrets.token_bytes(32)
LEFT_BEHIND = """
select coalesce(current_setting('request.jwt.claims', true), ''),
       coalesce(current_setting('request.jwt.claim.sub', true), ''),
       current_setting('role'), current_user = session_user
"""


@dataclass(frozen=True)
class Caller:
    """An owner with two persons, a connection and readings of each, and a token."""

    owner_id: str
    persons: tuple[str, ...]
    connections: tuple[str, ...]
    readings: int
    bearer: dict[str, str]


@pytest.fixture
def pool_port(database: Any) -> Iterator[int]:
    with pgbouncer(database.service_dsn, database.owner_dsn) as port:
        yield port


def environment(folder: Path, **more: str) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("EVERCGM_")}
    return {**outside, "EVERCGM_DATA_DIR": str(folder), "ENCRYPTION_KEY": KEY.hex(), **more}


def evercgm(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evercgm.cli.main", *words],
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def serving(folder: Path, dsn: str) -> Iterator[str]:
    """``evercgm serve --no-worker`` as a process; its address."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    words = [sys.executable, "-m", "evercgm.cli.main", "serve", "--no-worker", "--port", str(port)]
    with (folder / "serve.log").open("w") as log:
        env = environment(folder, DATABASE_URL=dsn, EVERCGM_PUBLIC_URL="http://cgm.test")
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if httpx2.get(f"{url}/readyz", trust_env=False).status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "serve.log").read_text())
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def callers(database: Any) -> AsyncIterator[tuple[Caller, Caller]]:
    async with (
        open_database(database.service_dsn, Vault(KEY), largest=1) as db,
        await psycopg.AsyncConnection.connect(database.admin_dsn, autocommit=True) as conn,
    ):
        keys = await load_keys(db, issuer_of("http://cgm.test"))

        async def admin(statement: str, values: Sequence[Any] = ()) -> None:
            await conn.execute(statement.encode(), values)

        async def make(readings: int) -> Caller:
            owner_id, persons, connections = str(uuid4()), (str(uuid4()), str(uuid4())), []
            for person_id in persons:
                await add_person(admin, owner_id, person_id, "somebody")
                connections.append(await add_connection(admin, person_id))
                times = [NOON + timedelta(minutes=5 * n) for n in range(readings)]
                await add_readings(admin, person_id, connections[-1], times)
            bearer = {"Authorization": f"Bearer {issue_jwt(keys, owner_id, timedelta(hours=1))}"}
            return Caller(owner_id, persons, tuple(connections), readings, bearer)

        yield await make(3), await make(5)


class Crowd:
    """Calls of one owner beside the other's; ``seen`` counts what came of them."""

    def __init__(self, http: httpx2.AsyncClient, me: Caller, other: Caller):
        self.http, self.me, self.other = http, me, other
        self.seen: Counter[str] = Counter()

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self.http.request(method, f"{BASE}{path}", headers=self.me.bearer, **more)

    async def list_mine(self) -> None:
        answer = await self.call("GET", "/connections")
        assert answer.status_code == 200, answer.text
        found = {(one["person_id"], one["id"]) for one in answer.json()["connections"]}
        assert found == set(zip(self.me.persons, self.me.connections, strict=True))

    async def read_mine(self) -> None:
        person_id, connection_id = random.choice([*zip(self.me.persons, self.me.connections, strict=True)])
        answer = await self.call("GET", "/readings", params={"person_id": person_id})
        assert answer.status_code == 200, answer.text
        found = [one["connection_id"] for one in answer.json()["readings"]]
        assert found == [connection_id] * self.me.readings

    async def ask_for_theirs(self) -> None:
        """Bad and foreign ids, and refused writes: all alike not found."""
        theirs = random.choice([*self.other.connections, str(uuid4()), "no-id"])
        person_id = random.choice([*self.other.persons, str(uuid4())])
        calls = [
            ("GET", f"/connections/{theirs}", {}),
            ("DELETE", f"/connections/{theirs}", {}),
            ("POST", f"/connections/{theirs}/pause", {}),
            ("POST", "/sync", {"json": {"connection_id": theirs}}),
            ("GET", "/readings", {"params": {"person_id": person_id}}),
        ]
        method, path, more = random.choice(calls)
        answer = await self.call(method, path, **more)
        assert answer.status_code == 404, (method, path, answer.text)

    async def ask_nonsense(self) -> None:
        answer = await self.call("GET", "/readings", params={"person_id": self.me.persons[0], "cursor": "nonsense"})
        assert answer.status_code == 422, answer.text

    async def write_mine(self) -> None:
        """A write in a transaction that begins as the person and goes on as the worker."""
        answer = await self.call("POST", f"/connections/{self.me.connections[0]}/pause")
        assert answer.status_code in (200, 409), answer.text

    async def hang_up(self) -> None:
        """A caller who goes away in the middle: of an answer, or of a stream."""
        address = random.choice(["/connections", f"/readings?person_id={self.me.persons[0]}", "/events"])
        try:
            async with asyncio.timeout(random.uniform(0.001, 0.05)):
                async with self.http.stream("GET", f"{BASE}{address}", headers=self.me.bearer) as answer:
                    async for _ in answer.aiter_bytes():
                        pass
        except TimeoutError:
            self.seen["hung up"] += 1

    async def act(self) -> None:
        acts: list[Callable[[], Any]] = [
            *(self.list_mine, self.read_mine, self.list_mine, self.read_mine),
            *(self.ask_for_theirs, self.ask_nonsense, self.write_mine, self.hang_up),
        ]
        chosen = random.choice(acts)
        await chosen()
        self.seen[chosen.__name__] += 1


async def test_two_owners_calls_share_one_connection_and_nobodys_identity_leaks(
    database: Any, pool_port: int, callers: tuple[Caller, Caller], tmp_path: Path
) -> None:
    random.seed(20261124)
    pooled = through(database.service_dsn, pool_port)
    gate = asyncio.Semaphore(AT_ONCE)
    with serving(tmp_path, pooled) as url:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
            ada, bob = Crowd(http, *callers), Crowd(http, *reversed(callers))

            async def one(crowd: Crowd) -> None:
                async with gate:
                    await crowd.act()

            async with asyncio.TaskGroup() as group:
                for _ in range(CALLS // 2):
                    group.create_task(one(ada))
                    group.create_task(one(bob))

            assert (ada.seen + bob.seen).total() >= CALLS
            assert min(ada.seen["hung up"], bob.seen["hung up"]) > 0
            async with await psycopg.AsyncConnection.connect(pooled, prepare_threshold=None) as conn:
                left = await (await conn.execute(LEFT_BEHIND)).fetchone()
        logged = (tmp_path / "serve.log").read_text()

    assert left == ("", "", "none", True)
    with psycopg.connect(database.admin_dsn) as conn:
        counts = conn.execute("select count(*) from public.cgm_connections where access_token = 'marked-access'")
        assert counts.fetchone() == (4,)
    assert "Traceback" not in logged


def test_this_pool_would_show_a_leak(database: Any, pool_port: int) -> None:
    pooled = through(database.service_dsn, pool_port)
    claims = json.dumps({"sub": str(uuid4())})

    with psycopg.connect(pooled, prepare_threshold=None, autocommit=True) as careless:
        careless.execute("select set_config('request.jwt.claims', %s, false)", [claims])
        with psycopg.connect(pooled, prepare_threshold=None, autocommit=True) as next_one:
            met = next_one.execute("select current_setting('request.jwt.claims', true)").fetchone()

    assert met == (claims,)


def test_a_migration_through_the_pooler_is_refused_and_says_why(database: Any, pool_port: int, tmp_path: Path) -> None:
    pooled = through(database.owner_dsn, pool_port)

    done = evercgm(tmp_path, "db", "migrate", MIGRATION_DATABASE_URL=pooled, DATABASE_URL=database.service_dsn)

    assert done.returncode == 2
    assert "MIGRATION_DATABASE_URL: a transaction pooler stands between" in done.stderr
    assert pooled not in done.stderr


@pytest.mark.parametrize("command", ["work", "serve"])
@pytest.mark.parametrize("own", [True, False], ids=["own-url", "of-the-service"])
def test_a_worker_through_the_pooler_is_refused_and_says_why(
    database: Any, pool_port: int, tmp_path: Path, command: str, own: bool
) -> None:
    pooled = through(database.service_dsn, pool_port)
    env = {"DATABASE_URL": database.service_dsn, "WORKER_DATABASE_URL": pooled} if own else {"DATABASE_URL": pooled}
    words = ["work"] if command == "work" else ["serve", "--port", str(free_port())]

    done = evercgm(tmp_path, *words, **env)

    named = "WORKER_DATABASE_URL" if own else "DATABASE_URL"
    assert done.returncode == 2, done.stderr
    assert f"{named}: a transaction pooler stands between" in done.stderr
    assert "LISTEN" in done.stderr
    assert pooled not in done.stderr
