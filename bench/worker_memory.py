"""Peak memory of a whole worker with 10,000 connections due, against the same with 10 due; the vendor takes 2 s."""

import asyncio
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from bench import records
from bench.kit import Bar, beside, execute, make_database, ratio_of, vendor
from evercgm.core.tokens import Secret
from evercgm.storage import connections
from evercgm.storage.embedded import Embedded
from evercgm.storage.progress import write_cursor
from evercgm.storage.vault import Vault

MANY, FEW = 10_000, 10
VENDOR_TAKES_S = 2
ROUNDS = 3
STARTS_WITHIN_S, WARM_UP_S, MEASURED_S = 60, 5, 8
REACH = 1.5
_PERSONS = 'insert into public."Person" (id, "ownerId") select i, i from unnest(%s::text[]) as i'
_CONNECTIONS = """
insert into public.cgm_connections
  (id, person_id, provider, access_token, refresh_token, token_expires_at, status, sync_cursor, updated_at)
select i, i, 'dexcom', a, '', now() + interval '2 hours', 'connected', %s, now()
from unnest(%s::text[], %s::text[]) as v (i, a)
"""
_STATES = """
insert into cgm_private.sync_state
  (connection_id, person_id, provider, region, next_sync_at, history_start, history_done_at, scans, connected_at)
select i, i, 'dexcom', 'us', now(), now(), now(),
       jsonb_build_object('daily', done.scan, 'weekly', done.scan), now()
from jsonb_build_object('done', now()) as done (scan), unnest(%s::text[]) as i
"""
_DUE = "update cgm_private.sync_state set next_sync_at = now() where connection_id = any(%s)"
_DONE = "select count(*) from public.cgm_connections where last_sync_at is not null"


async def run(server: Embedded) -> list[Bar]:
    """Rounds in turn, each with a worker and a database of its own."""
    return [await asyncio.to_thread(_rounds, server)]


def _rounds(server: Embedded) -> Bar:
    now = datetime.now(UTC).replace(microsecond=0)
    day = records.egvs(records.records(now - timedelta(hours=24), 288))
    answers = {("egvs", ""): day, ("dataRange", ""): "{}", ("devices", ""): records.devices()}
    peaks: dict[int, list[float]] = {MANY: [], FEW: []}
    synced: dict[int, int] = {}
    with vendor(answers, VENDOR_TAKES_S) as base_url:
        for _ in range(ROUNDS):
            for count in peaks:
                peak, synced[count] = _peak(server, base_url, count)
                peaks[count].append(peak)
    ratio = ratio_of(peaks[MANY], peaks[FEW])
    return Bar(
        f"peak memory of a worker, {MANY:,} due",
        f"{median(peaks[MANY]):.0f} MiB",
        f"{median(peaks[FEW]):.0f} MiB",
        f"{ratio:.2f} x",
        f"<= {REACH} x",
        ratio <= REACH,
        (f"against {FEW} due; {synced[MANY]} and {synced[FEW]} connections were synced in the last round",),
    )


def _peak(server: Embedded, base_url: str, count: int) -> tuple[float, int]:
    """MiB of a worker that has so many to do all the time, after it is warm; how many it has synced."""
    name, key = f"bench_memory_{secrets.token_hex(4)}", secrets.token_bytes(32)
    asyncio.run(make_database(server, name))
    try:
        with psycopg.connect(beside(server.superuser_dsn, name), autocommit=True) as admin:
            ids = _fill(admin, Vault(key), count)
            with _worker(_environment(beside(server.service_dsn, name), base_url, key)) as pid:
                _await_the_first(admin)
                _keep_due(admin, ids, WARM_UP_S)
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                _keep_due(admin, ids, MEASURED_S)
                status = Path(f"/proc/{pid}/status").read_text()
            done = _done(admin)
    finally:
        asyncio.run(
            execute(server.superuser_dsn, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        )
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    assert peak
    return int(peak[1]) / 1024, done


def _fill(admin: psycopg.Connection[tuple[Any, ...]], vault: Vault, count: int) -> list[str]:
    """Connections that are up to date but for the last day."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    access = [vault.seal(Secret("a" * 1000), connections.access_place(one)) for one in ids]
    admin.execute(_PERSONS, [ids])
    admin.execute(_CONNECTIONS, [write_cursor(datetime.now(UTC)), ids, access])
    admin.execute(_STATES, [ids])
    admin.execute("analyze")
    return ids


def _done(admin: psycopg.Connection[tuple[Any, ...]]) -> int:
    row = admin.execute(_DONE).fetchone()
    return int(row[0]) if row else 0


def _await_the_first(admin: psycopg.Connection[tuple[Any, ...]]) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while not _done(admin):
        if time.monotonic() > until:
            raise TimeoutError("the worker has synced nothing")
        time.sleep(0.2)


def _keep_due(admin: psycopg.Connection[tuple[Any, ...]], ids: list[str], seconds: float) -> None:
    """The first of them are due again as soon as they are synced: a few are never all done."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        admin.execute(_DUE, [ids[:FEW]])
        time.sleep(1)


def _environment(dsn: str, base_url: str, key: bytes) -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "DEXCOM_"))}
    return {
        **outside,
        "DATABASE_URL": dsn,
        "ENCRYPTION_KEY": key.hex(),
        "EVERCGM_LOG_LEVEL": "ERROR",
        "EVERCGM_ALLOW_SIMULATORS": "1",
        "EVERCGM_VENDOR_BASE_URLS": f'{{"dexcom": {{"us": "{base_url}"}}}}',
        "DEXCOM_CLIENT_ID": "client",
        "DEXCOM_CLIENT_SECRET": "secret",
    }


@contextmanager
def _worker(environment: Mapping[str, str]) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "evercgm.cli.main", "work"], env=environment, stderr=log)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)
