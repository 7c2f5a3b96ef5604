"""Bar 3: the report's own way, one upsert a reading in a transaction, against our save of the same 288."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import records
from bench.kit import STREAM, Bar, Bench, Person, add_person, ms, open_bench, ratio_of
from evercgm.core.reading import Batch, Reading, reading_id
from evercgm.providers.dexcom.mapping import read_egvs
from evercgm.storage import readings
from evercgm.storage.embedded import Embedded
from evercgm.storage.readings import Owner

ROUNDS = 40
REACH_NEW, REACH_AGAIN, MOST_TRIPS = 3.5, 5.0, 6
_UPSERT = """
insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
values (%s, %s, %s, %s, 'cgm', %s)
on conflict (id) do update set value = excluded.value, "timestamp" = excluded."timestamp"
"""


class Counted:
    """A connection that counts what is sent and waited for."""

    def __init__(self, conn: Any):
        self._conn = conn
        self.trips = 0

    async def execute(self, *words: Any) -> Any:
        """One statement, one round trip."""
        self.trips += 1
        return await self._conn.execute(*words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


async def run(server: Embedded) -> list[Bar]:
    """Each round two new persons: all new, then all again."""
    now = datetime.now(UTC).replace(microsecond=0)
    batch = read_egvs(records.egvs(records.records(now - timedelta(hours=24), 288)).encode(), now)
    spent: dict[str, list[float]] = {"own new": [], "own again": [], "plain new": [], "plain again": []}
    async with open_bench(server, "http://127.0.0.1:9") as bench:
        for n in range(ROUNDS + 2):
            own, other = await add_person(bench), await add_person(bench)
            for what in ("new", "again"):
                one = await _ours(bench, own, batch), await _plain(bench, other, batch.readings)
                if n >= 2:
                    spent[f"own {what}"].append(one[0])
                    spent[f"plain {what}"].append(one[1])
        trips = [await _trips(bench, batch, count) for count in (1, 288)]
    return [
        _bar("new", spent["own new"], spent["plain new"], REACH_NEW, max(trips[0][0], trips[1][0])),
        _bar("again", spent["own again"], spent["plain again"], REACH_AGAIN, max(trips[0][1], trips[1][1])),
    ]


def _owner(person: Person) -> Owner:
    return Owner(person.person_id, person.connection_id, STREAM)


async def _ours(bench: Bench, person: Person, batch: Batch) -> float:
    began = time.perf_counter()
    async with bench.db.as_worker() as conn:
        await readings.save(conn, _owner(person), batch)
    return time.perf_counter() - began


async def _plain(bench: Bench, person: Person, found: tuple[Reading, ...]) -> float:
    began = time.perf_counter()
    async with bench.plain.transaction():
        for one in found:
            id_ = reading_id(person.person_id, STREAM, one)
            await bench.plain.execute(
                _UPSERT, (id_, person.person_id, one.measured_at, float(one.glucose_mg_dl), person.connection_id)
            )
    return time.perf_counter() - began


async def _trips(bench: Bench, batch: Batch, count: int) -> tuple[int, int]:
    """Statements of one save: all new, all again."""
    person = await add_person(bench)
    part = Batch(batch.readings[:count], (), batch.account_id)
    found = []
    for _ in range(2):
        async with bench.db.as_worker() as conn:
            counted: Any = Counted(conn)
            await readings.save(counted, _owner(person), part)
            found.append(counted.trips)
    return found[0], found[1]


def _bar(what: str, ours: list[float], plain: list[float], reach: float, trips: int) -> Bar:
    faster = 1 / ratio_of(ours, plain)
    return Bar(
        f"one upsert a reading, 288 {what}",
        f"{ms(ours):.1f} ms",
        f"{ms(plain):.1f} ms",
        f"{faster:.1f} x faster, {trips} trips",
        f">= {reach} x, <= {MOST_TRIPS} trips",
        faster >= reach and trips <= MOST_TRIPS,
    )
