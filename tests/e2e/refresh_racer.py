"""Refresh races between two processes that share nothing but the database: the racer, and who lets two of them run.

As a program it is a worker reduced to its refresh: it reads its settings and then races from its standard input.
"""

import asyncio
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import uvicorn

from evercgm.actions.access import Access, ConnectionGoneError
from evercgm.core.caller import Caller
from evercgm.core.errors import EvercgmError
from evercgm.core.tokens import Secret
from evercgm.provider_kit.contract import VendorApp
from evercgm.provider_kit.vendors import Vendors
from evercgm.providers import PROVIDERS
from evercgm.storage import connections
from evercgm.storage.database import Database, open_database
from evercgm.storage.vault import Vault

TOGETHER = 10
# Both racers wait for one instant, far enough ahead for both to have read of it.
AHEAD_S = 0.05


def vendors_at(settings: dict[str, str], http: httpx2.AsyncClient) -> Vendors:
    app = VendorApp(
        "us",
        settings["vendor_url"],
        settings["client_id"],
        Secret(settings["client_secret"]),
        settings["redirect_uri"],
    )
    return Vendors(PROVIDERS, {("dexcom", "us"): app}, {("dexcom", "us"): http})


async def use_token(db: Database, vendors: Vendors, connection_id: str) -> str:
    """What a sync does before each call; a fingerprint of the token it would call with, or the error's name."""

    async def fingerprint(token: Secret) -> str:
        return hashlib.sha256(token.reveal().encode()).hexdigest()

    loaded = await connections.load_for_sync(db, connection_id)
    assert loaded is not None
    try:
        return await Access(db, vendors, "dexcom", loaded).call(fingerprint)
    except (EvercgmError, ConnectionGoneError) as failure:
        return type(failure).__name__


async def race(lines: Iterator[str], tell: Callable[[str], object]) -> None:
    settings = json.loads(next(lines))
    async with (
        open_database(settings["dsn"], Vault(bytes.fromhex(settings["key"])), largest=TOGETHER) as db,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        vendors = vendors_at(settings, http)
        tell("ready\n")
        for line in lines:
            order = json.loads(line)
            await asyncio.sleep(max(0.0, order["at"] - time.time()))
            used = await asyncio.gather(*(use_token(db, vendors, id_) for id_ in order["connections"]))
            tell(json.dumps(used) + "\n")


@dataclass
class Racer:
    """A racing process."""

    process: subprocess.Popen[str]

    def tell(self, value: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    async def hear(self) -> str:
        assert self.process.stdout is not None
        return await asyncio.to_thread(self.process.stdout.readline)


@contextmanager
def start_racers(settings: dict[str, Any], log: Path, program: str = __file__) -> Iterator[list[Racer]]:
    with log.open("w") as errors:
        racers = [
            Racer(
                subprocess.Popen(
                    [sys.executable, program],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        try:
            for racer in racers:
                racer.tell(settings)
            yield racers
        finally:
            for racer in racers:
                racer.process.communicate(timeout=30)


@asynccontextmanager
async def serve_cloud(cloud: Any) -> AsyncIterator[str]:
    """A simulated cloud on a real socket; its address."""
    config = uvicorn.Config(cloud, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/dexcom"
        finally:
            server.should_exit = True
            await serving


@dataclass(frozen=True)
class Tally:
    """What a series of races came to. ``refreshes``: calls at the vendor; ``disagreed``: races of two tokens."""

    races: int
    refreshes: int
    reuses: int
    disagreed: int
    unchanged: int
    statuses: set[str]
    generations: set[int]


async def run_races(database: Any, folder: Path, rounds: int) -> Tally:
    """``rounds`` times two processes refresh the same ten connections at the same moment."""
    from sync_world import CALLBACK, CLIENT, walk_consent

    from evercgm.providers.dexcom.simulator.app import create_app

    cloud = create_app(folder / "cloud", clients=[CLIENT])
    key = secrets.token_bytes(32)
    try:
        async with serve_cloud(cloud) as url:
            settings = {
                "dsn": database.service_dsn,
                "key": key.hex(),
                "vendor_url": url,
                "client_id": CLIENT.client_id,
                "client_secret": CLIENT.client_secret,
                "redirect_uri": CALLBACK,
            }
            async with (
                open_database(database.service_dsn, Vault(key)) as db,
                httpx2.AsyncClient(trust_env=False) as http,
            ):
                for _ in range(TOGETHER):
                    caller, person_id = add_person(database.admin_dsn)
                    finished = await walk_consent(db, vendors_at(settings, http), caller, person_id, "User7")
                    assert finished.outcome == "connected"
            with start_racers(settings, folder / "racers.log") as racers:
                assert [await racer.hear() for racer in racers] == ["ready\n", "ready\n"]
                disagreed, unchanged = await let_race(racers, database.admin_dsn, rounds)
            state = cloud.state.cloud.state
            statuses, generations = ends(database.admin_dsn)
            return Tally(
                races=rounds * TOGETHER,
                refreshes=state.counts("token_calls").get("refresh_token", 0),
                reuses=state.counts("refresh_reuse").get("", 0),
                disagreed=disagreed,
                unchanged=unchanged,
                statuses=statuses,
                generations=generations,
            )
    finally:
        cloud.state.cloud.state.close()


def add_person(admin_dsn: str) -> tuple[Caller, str]:
    owner_id, person_id = str(uuid.uuid4()), str(uuid.uuid4())
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        conn.execute('insert into public."Person" (id, "ownerId") values (%s, %s)', (person_id, owner_id))
    return Caller(owner_id, {"sub": owner_id, "role": "authenticated", "aud": "authenticated"}), person_id


async def let_race(racers: list[Racer], admin_dsn: str, rounds: int) -> tuple[int, int]:
    """In how many races the two ended with two tokens, and in how many with none or with the one before."""
    disagreed = unchanged = 0
    before: list[str] = []
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        ids = [row[0] for row in conn.execute("select id from public.cgm_connections order by id").fetchall()]
        for _ in range(rounds):
            conn.execute("update public.cgm_connections set token_expires_at = now()")
            order = {"at": time.time() + AHEAD_S, "connections": ids}
            for racer in racers:
                racer.tell(order)
            one, two = [json.loads(await racer.hear()) for racer in racers]
            disagreed += sum(a != b for a, b in zip(one, two, strict=True))
            unchanged += sum(len(now) != 64 or now in before for now in one)
            before = one
    return disagreed, unchanged


def ends(admin_dsn: str) -> tuple[set[str], set[int]]:
    with psycopg.connect(admin_dsn) as conn:
        rows = conn.execute(
            """select c.status::text, s.generation from public.cgm_connections c
               join cgm_private.sync_state s on s.connection_id = c.id"""
        ).fetchall()
    return {row[0] for row in rows}, {row[1] for row in rows}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # What the program logs goes elsewhere than its answers.
    sys.stdout = sys.stderr
    with answers:
        asyncio.run(race(iter(sys.stdin.readline, ""), answers.write))
