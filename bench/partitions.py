"""``python -m bench.partitions``: what readings in parts cost, by the number of parts; a table of its own, no bar."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psycopg

from bench.crowd import Size, id_of, owner_of
from bench.kit import beside, drop_database, ms, scratch_server
from bench.million_readings import LOOKS, Crowd, open_crowd
from evercgm.logs import set_up_logs
from evercgm.storage.embedded import Embedded
from evercgm.storage.views import QUERIES

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "partition_readings.sql"
# 34 days of 50 persons.
SIZE = Size(2_000, 50, 10_000)
# Days a part: what lies before them, and what lies nowhere else, is a part each.
DAYS_A_PART = {"in one piece": 0, "5 parts": 12, "13 parts": 3, "35 parts": 1}
ROUNDS = 30


async def run(server: Embedded) -> list[list[str]]:
    """A line a number of parts; all of them in turn, look by look."""
    async with AsyncExitStack() as stack:
        crowds = {name: await stack.enter_async_context(_in_parts(server, days)) for name, days in DAYS_A_PART.items()}
        took = {(name, look): list[float]() for name in crowds for look in LOOKS}
        for n in range(ROUNDS + 5):
            for word, look in LOOKS.items():
                for name, crowd in crowds.items():
                    seconds = await look(crowd)
                    if n >= 5:
                        took[name, word].append(seconds)
        return [await _line(name, crowd, [took[name, word] for word in LOOKS]) for name, crowd in crowds.items()]


async def _line(name: str, crowd: Crowd, took: Sequence[Sequence[float]]) -> list[str]:
    planned, pages = await _plan(crowd)
    return [name, *(f"{ms(times):.1f} ms" for times in took), f"{planned:.1f} ms", f"{pages:,}"]


@asynccontextmanager
async def _in_parts(server: Embedded, days: int) -> AsyncIterator[Crowd]:
    name = f"bench_parts_{secrets.token_hex(4)}"
    try:
        async with open_crowd(server, name, SIZE) as crowd:
            if days:
                now = datetime.now(UTC)
                starts = [now - timedelta(days=n) for n in (*range(33, 0, -days), -1)]
                await asyncio.to_thread(_partition, beside(server.superuser_dsn, name), starts)
            yield crowd
    finally:
        await drop_database(server, name)


def _partition(dsn: str, starts: list[datetime]) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        text = ", ".join(f"{start:%Y-%m-%d}" for start in starts)
        owner.execute("select set_config('cgm.part_starts', %s, false)", (text,))
        owner.execute(SCRIPT.read_bytes())
        owner.execute("vacuum analyze")


async def _plan(crowd: Crowd) -> tuple[float, int]:
    """Milliseconds to plan a day of readings, and pages to read it."""
    now = datetime.now(UTC)
    values = {
        **{"person_id": id_of("person", 7), "after_time": None, "after_id": None, "limit": 1001},
        **{"start": now - timedelta(hours=24), "end": now},
    }
    claims = {"sub": owner_of(7), "role": "authenticated"}
    found: list[tuple[float, int]] = []
    for _ in range(9):
        async with crowd.admin.transaction():
            words = "select set_config('request.jwt.claims', %s, true), set_config('role', 'cgm_request', true)"
            await crowd.admin.execute(words, (json.dumps(claims),))
            query = f"explain (analyze, buffers, summary, format json) {QUERIES['readings']}"
            row = await (await crowd.admin.execute(query.encode(), values)).fetchone()
        assert row is not None
        told = row[0][0]
        pages = told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"]
        found.append((told["Planning Time"], pages))
    return median(one[0] for one in found), found[-1][1]


if __name__ == "__main__":
    set_up_logs("ERROR")
    with scratch_server() as database:
        print(f"| readings | {' | '.join(LOOKS)} | planning such a page | pages of it |")
        print("| --- " * (len(LOOKS) + 3) + "|")
        for line in asyncio.run(run(database)):
            print(f"| {' | '.join(line)} |")
