"""Two million readings of 200 persons against 50,000 of 50: a day saved anew, saved again, and read as its owner."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
from psycopg.rows import TupleRow

from bench.crowd import A_DAY, Size, fill, id_of, newest, owner_of, stream_of
from bench.kit import Bar, beside, drop_database, make_database, ms, ratio_of
from evercgm.core.caller import Caller
from evercgm.core.reading import Batch, Reading
from evercgm.storage import readings, views
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.vault import Vault
from evercgm.storage.views import Span

FEW, MANY = Size(5_000, 50, 1_000), Size(20_000, 200, 10_000)
ROUNDS = 40
REACH = 1.5
_fresh = count()


@dataclass(frozen=True)
class Crowd:
    """Many people, one of whom is taken at random for each look."""

    db: Database
    admin: psycopg.AsyncConnection[TupleRow]
    size: Size
    chance: random.Random

    async def anew(self) -> float:
        """Seconds of a save of a day that nobody has seen."""
        n, mark = self.someone(), next(_fresh)
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1 + mark)
        day = [Reading(f"fresh-{mark}-{k}", start + k * timedelta(minutes=5), 100 + k % 90) for k in range(A_DAY)]
        return await self._save(n, day)

    async def again(self) -> float:
        """Seconds of a save of a day that is stored."""
        n = self.someone()
        return await self._save(n, await newest(self.admin, n))

    async def page(self) -> float:
        """Seconds of a day of somebody's, read under row-level security; what was saved anew lies in the future."""
        n = self.someone()
        caller = Caller(owner_of(n), {"sub": owner_of(n), "role": "authenticated"})
        now = datetime.now(UTC)
        began = time.perf_counter()
        await views.readings(
            self.db, caller, id_of("person", n), Span(now - timedelta(hours=24), now), limit=1000, cursor=None
        )
        return time.perf_counter() - began

    def someone(self) -> int:
        return self.chance.randint(1, self.size.wearers)

    async def _save(self, n: int, day: list[Reading]) -> float:
        began = time.perf_counter()
        async with self.db.as_worker() as conn:
            await readings.save(conn, stream_of(n), Batch(tuple(day), (), "account"))
        return time.perf_counter() - began


LOOKS: dict[str, Callable[[Crowd], Awaitable[float]]] = {
    f"a save of {A_DAY} new readings": Crowd.anew,
    f"a save of {A_DAY} readings again": Crowd.again,
    "24 h of readings, as the person": Crowd.page,
}


async def run(server: Embedded) -> list[Bar]:
    """Both crowds in turn, look by look."""
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in LOOKS}
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(_crowd(server, size)) for size in (MANY, FEW)]
        for n in range(ROUNDS + 5):
            for name, look in LOOKS.items():
                for crowd, times in zip(crowds, took[name], strict=True):
                    seconds = await look(crowd)
                    if n >= 5:
                        times.append(seconds)
    return [_bar(name, *times) for name, times in took.items()]


def _bar(name: str, many: list[float], few: list[float]) -> Bar:
    ratio = ratio_of(many, few)
    total = MANY.wearers * MANY.readings
    return Bar(
        f"{name}, beside {total:,} of {MANY.wearers} persons",
        f"{ms(many):.1f} ms",
        f"{ms(few):.1f} ms",
        f"{ratio:.2f} x",
        f"<= {REACH} x",
        ratio <= REACH,
        (f"held against {FEW.wearers * FEW.readings:,} of {FEW.wearers} persons; somebody else each time",),
    )


@asynccontextmanager
async def _crowd(server: Embedded, size: Size) -> AsyncIterator[Crowd]:
    name = f"bench_crowd_{secrets.token_hex(4)}"
    try:
        async with open_crowd(server, name, size) as crowd:
            yield crowd
    finally:
        await drop_database(server, name)


@asynccontextmanager
async def open_crowd(server: Embedded, name: str, size: Size) -> AsyncIterator[Crowd]:
    """A new database of that name, with so many people in it."""
    await make_database(server, name)
    admin_dsn = beside(server.superuser_dsn, name)
    fill(admin_dsn, size)
    async with (
        await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin,
        open_database(beside(server.service_dsn, name), Vault(secrets.token_bytes(32)), largest=1) as db,
    ):
        yield Crowd(db, admin, size, random.Random(7))
