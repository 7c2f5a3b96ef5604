"""BIG: a day of readings by the API among 20 million, a random person of 2,000 each call, against 1 million of 100."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import psycopg

from bench.crowd import Size, fill, id_of, owner_of
from bench.kit import Bar, beside, child, drop_database, is_big, make_database, not_run
from evercgm.storage.embedded import Embedded

SIZES = {"many": Size(2_000, 2_000, 10_000), "few": Size(100, 100, 10_000)}
ROUNDS = 5
SECONDS, WARM_SECONDS = 10, 60
CONCURRENCY = 16
REACH = 1.5
NAME = "24 h of readings by the API, 20,000,000 rows, 2,000 persons, a random one each call"
ADDRESS = "/api/metabolic/cgm/readings"
# Indexes of so many rows are built in a third of the time that it takes to keep them up to date row by row.
_TAKEN_APART = """
select format('alter table %s drop constraint %I', o.conrelid::regclass, o.conname),
       format('alter table %s add constraint %I %s', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid)),
       o.contype = 'f' as last
  from pg_constraint o
 where o.conrelid in ('public.glucose_readings'::regclass, 'cgm_private.reading_details'::regclass)
   and o.contype in ('p', 'f')
union all
select format('drop index %s', x.indexrelid::regclass), pg_get_indexdef(x.indexrelid), false
  from pg_index x
 where x.indrelid in ('public.glucose_readings'::regclass, 'cgm_private.reading_details'::regclass)
   and not x.indisprimary
 order by last
"""


async def run(server: Embedded) -> list[Bar]:
    """Two databases, a service for each; only one is asked at a time."""
    if not is_big():
        return [not_run(NAME, f"<= {REACH} x its p99", "25 GB of disk, 25 minutes")]
    names = {which: f"bench_big_{which}_{secrets.token_hex(4)}" for which in SIZES}
    try:
        for which, name in names.items():
            await make_database(server, name)
            await asyncio.to_thread(_fill, beside(server.superuser_dsn, name), SIZES[which])
        dsns = {which: beside(server.service_dsn, name) for which, name in names.items()}
        return [await asyncio.to_thread(_ask, dsns)]
    finally:
        for name in names.values():
            await drop_database(server, name)


def _fill(admin_dsn: str, size: Size) -> None:
    with _without_indexes(admin_dsn):
        fill(admin_dsn, size)
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("vacuum analyze")


@contextmanager
def _without_indexes(admin_dsn: str) -> Iterator[None]:
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        words = admin.execute(_TAKEN_APART).fetchall()
        for drop, _, _ in reversed(words):
            admin.execute(drop.encode())
    yield
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("set maintenance_work_mem = '1GB'")
        for _, make, _ in words:
            admin.execute(make.encode())


def _ask(dsns: Mapping[str, str]) -> Bar:
    tails: dict[str, list[float]] = {which: [] for which in dsns}
    rates: dict[str, list[float]] = {which: [] for which in dsns}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        ports = {which: stack.enter_context(_service(Path(folder), which, dsn)) for which, dsn in dsns.items()}
        for n in range(ROUNDS + 1):
            for which, port in ports.items():
                found = _load(Path(folder), which, port, SECONDS if n else WARM_SECONDS)
                if n:
                    tails[which].append(found["p99_ms"])
                    rates[which].append(found["rate"])
    ratio = median(tails["many"]) / median(tails["few"])
    return Bar(
        NAME,
        f"p99 {median(tails['many']):.1f} ms",
        f"p99 {median(tails['few']):.1f} ms",
        f"{ratio:.2f} x",
        f"<= {REACH} x its p99",
        ratio <= REACH,
        (
            f"held against 1,000,000 rows of 100 persons; {CONCURRENCY} at a time, warm;"
            f" {median(rates['many']):.0f} req/s against {median(rates['few']):.0f}",
        ),
    )


@contextmanager
def _service(folder: Path, which: str, dsn: str) -> Iterator[int]:
    """A service on its own port; whom to ask for, and each one's token, lie in the folder."""
    numbers = range(1, SIZES[which].wearers + 1)
    now = datetime.now(UTC)
    span = {"from": (now - timedelta(hours=24)).isoformat(), "to": now.isoformat()}
    asked = [f"{ADDRESS}?{urlencode({'person_id': id_of('person', n), **span})}" for n in numbers]
    (folder / f"{which}.asked").write_text("\n".join(asked))
    told = folder / f"{which}.json"
    told.touch(mode=0o600)
    owners = [owner_of(n) for n in numbers]
    told.write_text(json.dumps({"service_dsn": dsn, "owner_ids": owners, "key": secrets.token_hex(32)}))
    with child("bench.serve_readings", "ours", str(told), str(folder / f"{which}.tokens")) as port:
        yield port


def _load(folder: Path, which: str, port: int, seconds: int) -> dict[str, float]:
    asked = (f"@{folder / which}.asked", str(folder / f"{which}.tokens"))
    words = ("bench.load", str(port), *asked, str(CONCURRENCY), str(seconds))
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=True, timeout=seconds + 60
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
