"""Whole syncs by 1, 2 and 4 real worker processes, and what each costs, for the scale model of docs/scale.md.

They stand beside the vendor's process and PostgreSQL's on the same cores: more workers than cores are left help little.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench import records
from bench.kit import Bar, Bench, add_person, beside, make_database, open_bench, vendor
from evercgm.actions.sync import sync_connection
from evercgm.storage.embedded import Embedded
from evercgm.worker.schedule import enqueue_due

DATABASE = "many_workers"
PERSONS, ROUNDS = 200, 4
AT_ONCE = 8
WORKERS = (1, 2, 4)
PATIENCE_S = 120
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# The newest reading of each person goes, so that each sync finds one that is new.
_MAKE_DUE = (
    """delete from public.glucose_readings g using (
         select person_id, max("timestamp") as newest from public.glucose_readings group by person_id
       ) n where n.person_id = g.person_id and n.newest = g."timestamp" """,
    "truncate cgm_private.sync_runs",
    "vacuum analyze public.glucose_readings, cgm_private.reading_details, cgm_private.sync_state, cgm_jobs.pgqueuer",
    "checkpoint",
    "update cgm_private.sync_state set next_sync_at = now() - interval '1 second', quiet_count = 0",
)
_DONE = """
select count(*) filter (where outcome = 'succeeded' and inserted = 1) as done,
       count(*) filter (where outcome = 'failed') as failed,
       extract(epoch from max(finished_at) - min(started_at)) as seconds
from cgm_private.sync_runs"""


@dataclass(frozen=True)
class Round:
    """Seconds from the first start to the last end; CPU seconds of all workers and of PostgreSQL; bytes of WAL."""

    seconds: float
    workers_cpu: float
    server_cpu: float
    wal: int


async def run(server: Embedded) -> list[Bar]:
    """The same persons again and again, by one worker more each time."""
    await make_database(server, DATABASE)
    now = datetime.now(UTC).replace(microsecond=0)
    found = records.records(now - timedelta(hours=23, minutes=58), 287)
    answers = {("egvs", ""): records.egvs(found), ("dataRange", ""): records.data_range(found)}
    own = replace(
        server,
        service_dsn=beside(server.service_dsn, DATABASE),
        owner_dsn=beside(server.owner_dsn, DATABASE),
        superuser_dsn=beside(server.superuser_dsn, DATABASE),
    )
    key = secrets.token_bytes(32)
    with vendor({**answers, ("devices", ""): records.devices()}) as base_url:
        async with open_bench(own, base_url, key) as bench:
            await _fill(bench)
            environment = _environment(own.service_dsn, base_url, key)
            return _bars({count: await _rounds(bench, count, environment) for count in WORKERS})


def _environment(dsn: str, base_url: str, key: bytes) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EVERCGM_", "DEXCOM_"))}
    return {
        **ours,
        "DATABASE_URL": dsn,
        "ENCRYPTION_KEY": key.hex(),
        "DEXCOM_CLIENT_ID": "client",
        "DEXCOM_CLIENT_SECRET": "secret",
        "EVERCGM_VENDOR_BASE_URLS": json.dumps({"dexcom": {"us": base_url}}),
        "EVERCGM_ALLOW_SIMULATORS": "1",
        "EVERCGM_LOG_LEVEL": "ERROR",
    }


async def _fill(bench: Bench) -> None:
    """Persons with a day of readings each."""
    places = asyncio.Semaphore(AT_ONCE)

    async def fill_one() -> None:
        async with places:
            person = await add_person(bench)
            await sync_connection(bench.db, bench.vendors, person.connection_id, trigger="connect")

    await asyncio.gather(*(fill_one() for _ in range(PERSONS)))


async def _rounds(bench: Bench, count: int, environment: Mapping[str, str]) -> list[Round]:
    """The first round warms up and is not counted."""
    async with await psycopg.AsyncConnection.connect(bench.server.superuser_dsn, autocommit=True) as admin:
        with _workers(count, environment) as pids:
            return [await _round(bench, admin, pids) for _ in range(ROUNDS + 1)][1:]


async def _round(bench: Bench, admin: Any, pids: list[int]) -> Round:
    for statement in _MAKE_DUE:
        await admin.execute(statement)
    workers, server = _cpu_s(pids), _server_cpu_s(bench.server)
    begun = await _one(admin, "select pg_current_wal_insert_lsn()")
    # The workers look for themselves every five seconds; what one of them took already is not there any more.
    await enqueue_due(bench.db)
    until = time.monotonic() + PATIENCE_S
    while True:
        done, failed, seconds = await _one_row(admin, _DONE)
        assert not failed, f"{failed} syncs failed"
        if done == PERSONS:
            break
        assert time.monotonic() < until, f"{done} of {PERSONS} syncs are done after {PATIENCE_S} s"
        await asyncio.sleep(0.1)
    wal = await _one(admin, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", begun)
    return Round(float(seconds), _cpu_s(pids) - workers, _server_cpu_s(bench.server) - server, int(wal))


async def _one_row(admin: Any, query: str, *values: object) -> Any:
    return await (await admin.execute(query, values)).fetchone()


async def _one(admin: Any, query: str, *values: object) -> Any:
    return (await _one_row(admin, query, *values))[0]


@contextmanager
def _workers(count: int, environment: Mapping[str, str]) -> Iterator[list[int]]:
    """So many ``evercgm work``; their process ids."""
    words = [sys.executable, "-m", "evercgm.cli.main", "work"]
    processes = [subprocess.Popen(words, env=dict(environment)) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _cpu_s(pids: list[int]) -> float:
    """CPU seconds of these processes, in user and system mode."""
    return sum(sum(_stat(pid)[13:15]) for pid in pids) / TICKS_A_SECOND


def _server_cpu_s(server: Embedded) -> float:
    """The same of the postmaster, its children, and those that have ended."""
    postmaster = int((server.server_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    children = [pid for path in Path("/proc").glob("[0-9]*") if _parent(pid := int(path.name)) == postmaster]
    return _cpu_s([postmaster, *children]) + sum(_stat(postmaster)[15:17]) / TICKS_A_SECOND


def _stat(pid: int) -> list[int]:
    """The fields of /proc/PID/stat by their number in proc(5) less one; its two texts as zeros. Zeros: it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return [0] * 20
    return [0, 0, 0, *(int(field) for field in text.rpartition(")")[2].split()[1:20])]


def _parent(pid: int) -> int:
    return _stat(pid)[3]


def _bars(found: Mapping[int, list[Round]]) -> list[Bar]:
    alone = median(PERSONS / one.seconds for one in found[1])
    bars = []
    for count, rounds in found.items():
        rate = median(PERSONS / one.seconds for one in rounds)
        bars.append(
            Bar(
                f"whole syncs, 288 again and 1 new, by {count} worker{'s' if count > 1 else ''}",
                f"{rate:.0f} syncs/s",
                f"{alone:.0f} syncs/s",
                f"{rate / alone:.2f} x faster",
                "",
                None,
                (
                    f"a sync costs {_each(one.workers_cpu for one in rounds) * 1000:.1f} ms CPU of workers,"
                    f" {_each(one.server_cpu for one in rounds) * 1000:.1f} ms of PostgreSQL,"
                    f" {_each(one.wal for one in rounds) / 1024:.1f} KiB of WAL",
                ),
            )
        )
    return bars


def _each(of_rounds: Iterable[float]) -> float:
    return median(of_rounds) / PERSONS
