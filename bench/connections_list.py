"""One owner's list of connections among 20,000 persons, against 100: as the person's role, and through the API."""

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from bench.kit import Bar, beside, child, execute, make_database
from evercgm.core.caller import Caller
from evercgm.storage import views
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.vault import Vault

FEW, MANY = 100, 20_000
ROUNDS = 7
CALLS = 40
SECONDS = 1
REACH = 1.5
REACH_MS = 50
ADDRESS = "/api/metabolic/cgm/connections"
OWNER_ID = "00000000-0000-4000-8000-000000000001"
# The owner that is asked for has two persons; each person has one connection of ours.
FILL = """
insert into public."Person" (id, "ownerId")
select 'person-' || n, case when n <= 2 then %(owner)s else gen_random_uuid()::text end
  from generate_series(1, %(persons)s) n;
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
select 'connection-' || n, 'person-' || n, 'dexcom', 'sealed', 'sealed', '9999-12-31'
  from generate_series(1, %(persons)s) n;
insert into cgm_private.sync_state (connection_id, person_id, provider, region)
select 'connection-' || n, 'person-' || n, 'dexcom', 'us' from generate_series(1, %(persons)s) n;
"""


async def run(server: Embedded) -> list[Bar]:
    """Three databases: few persons, many, and many without the index on "ownerId", as the host app has them."""
    key = secrets.token_hex(32)
    template, *names = (f"bench_list_{secrets.token_hex(4)}" for _ in range(4))
    await make_database(server, template)
    dsns = dict(zip(("few", "many", "host"), (beside(server.service_dsn, name) for name in names), strict=True))
    for name, persons, indexed in zip(names, (FEW, MANY, MANY), (True, True, False), strict=True):
        await _fill(server, template, name, persons, indexed=indexed)
    try:
        by_sql = await _by_sql(dsns)
        by_api = await asyncio.to_thread(_by_api, dsns, key)
    finally:
        for name in (template, *names):
            await execute(server.superuser_dsn, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    return [*_bars("as the person", by_sql), *_bars("by the API", by_api)]


def _bars(way: str, times: Mapping[str, float]) -> list[Bar]:
    ratio = times["many"] / times["few"]
    name = f"connections of one owner of {MANY:,} persons, {way}"
    return [
        Bar(
            name,
            f"{times['many']:.2f} ms",
            f"{times['few']:.2f} ms",
            f"{ratio:.2f} x",
            f"<= {REACH} x",
            ratio <= REACH,
            (f"held against {FEW} persons",),
        ),
        Bar(
            f'{name}, no index on "ownerId"',
            f"{times['host']:.2f} ms",
            "",
            "",
            f"<= {REACH_MS} ms",
            times["host"] <= REACH_MS,
        ),
    ]


async def _fill(server: Embedded, template: str, name: str, persons: int, *, indexed: bool) -> None:
    words = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
    await execute(server.superuser_dsn, words)
    dsn = beside(server.superuser_dsn, name)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        for statement in FILL.strip().split(";\n"):
            await admin.execute(statement.strip(";\n").encode(), {"owner": OWNER_ID, "persons": persons})
        if not indexed:
            await admin.execute('drop index public."Person_ownerId_idx"')
        await admin.execute("vacuum analyze")


async def _by_sql(dsns: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds of a list, its transaction and the change of role included; the databases in turn."""
    caller = Caller(OWNER_ID, {"sub": OWNER_ID, "role": "authenticated"})
    took: dict[str, list[float]] = {name: [] for name in dsns}
    vault = Vault(secrets.token_bytes(32))
    for n in range(ROUNDS + 1):
        for name, dsn in dsns.items():
            async with open_database(dsn, vault, largest=1) as db:
                await _listed(db, caller)
                began = time.perf_counter()
                for _ in range(CALLS):
                    await _listed(db, caller)
                if n:
                    took[name].append((time.perf_counter() - began) / CALLS * 1000)
    return {name: median(times) for name, times in took.items()}


async def _listed(db: Database, caller: Caller) -> None:
    found = await views.connections(db, caller, None)
    assert len(found) == 2


def _by_api(dsns: Mapping[str, str], key: str) -> dict[str, float]:
    """Milliseconds of a call, one after another, each service a process of its own; only one is asked at a time."""
    took: dict[str, list[float]] = {name: [] for name in dsns}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        ports = {}
        for name, dsn in dsns.items():
            path = Path(folder) / f"{name}.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps({"service_dsn": dsn, "owner_id": OWNER_ID, "key": key}))
            words = ("bench.serve_readings", "ours", str(path), str(Path(folder) / f"{name}.token"))
            ports[name] = stack.enter_context(child(*words))
        for n in range(ROUNDS + 1):
            for name, port in ports.items():
                asked = ("bench.load", str(port), ADDRESS, str(Path(folder) / f"{name}.token"), "1", str(SECONDS))
                done = subprocess.run(
                    [sys.executable, "-m", *asked], capture_output=True, text=True, check=True, timeout=60
                )
                if n:
                    took[name].append(1000 / json.loads(done.stdout)["rate"])
    return {name: median(times) for name, times in took.items()}
