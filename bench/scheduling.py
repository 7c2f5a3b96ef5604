"""The scheduler's turns among many connections of which one in a hundred is due, against few that all are."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from bench.kit import Bar, beside, drop_database, is_big, make_database, ms, not_run, ratio_of
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.vault import Vault
from evercgm.worker.schedule import enqueue_due

FEW, MANY, BIG_MANY = 10_000, 100_000, 1_000_000
ONE_IN = 100
ROUNDS = 5
REACH = 1.5
FILL = """
insert into public."Person" (id, "ownerId")
select gen_random_uuid()::text, gen_random_uuid()::text from generate_series(1, %(connections)s);
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
select gen_random_uuid()::text, p.id, 'dexcom', repeat('a', 400), repeat('r', 80), '9999-12-31', now()
  from public."Person" p;
insert into cgm_private.sync_state (connection_id, person_id, provider, region, next_sync_at)
select c.id, c.person_id, 'dexcom', 'us', now() + interval '1 day' from public.cgm_connections c
"""
_MAKE_DUE = """
update cgm_private.sync_state s
   set next_sync_at = now() - random() * interval '5 minutes'
  from (select connection_id from cgm_private.sync_state order by connection_id limit %s) d
 where s.connection_id = d.connection_id
"""
# As workers would have done it: nobody waits for a job, nobody is due.
_CARRY_OUT = """
with done as (delete from cgm_jobs.pgqueuer returning dedupe_key)
update cgm_private.sync_state s
   set next_sync_at = now() + interval '1 day'
  from done
 where s.connection_id = substr(done.dedupe_key, length('sync:') + 1)
"""


@dataclass(frozen=True)
class Crowd:
    """So many connections, some of them due."""

    db: Database
    admin: psycopg.AsyncConnection[TupleRow]
    due: int

    async def turns(self) -> list[float]:
        """Seconds a job of each turn, until nothing is due; what workers do between the turns is not counted."""
        await self.admin.execute(_MAKE_DUE, (self.due,))
        await self.admin.execute("vacuum analyze cgm_private.sync_state")
        took: list[float] = []
        left = self.due
        while left:
            began = time.perf_counter()
            enqueued = await enqueue_due(self.db)
            took.append((time.perf_counter() - began) / enqueued)
            assert (await self.admin.execute(_CARRY_OUT)).rowcount == enqueued
            left -= enqueued
        return took


async def run(server: Embedded) -> list[Bar]:
    """One bar, and with BIG the one that design.md speaks of."""
    many = BIG_MANY if is_big() else MANY
    async with AsyncExitStack() as stack:
        few = await stack.enter_async_context(_crowd(server, FEW, FEW))
        crowd = await stack.enter_async_context(_crowd(server, many, many // ONE_IN))
        took: tuple[list[float], list[float]] = ([], [])
        for n in range(ROUNDS + 1):
            for place, one in enumerate((crowd, few)):
                turns = await one.turns()
                if n:
                    took[place].extend(turns)
    ratio = ratio_of(*took)
    bar = Bar(
        _name(many),
        f"{ms(took[0]) * 1000:.0f} µs a job",
        f"{ms(took[1]) * 1000:.0f} µs a job",
        f"{ratio:.2f} x",
        f"<= {REACH} x",
        ratio <= REACH,
        (f"held against {FEW:,} connections that are all due; {len(took[0])} and {len(took[1])} turns",),
    )
    return [bar] if is_big() else [bar, not_run(_name(BIG_MANY), f"<= {REACH} x", "3 GB of disk, 5 minutes")]


def _name(connections: int) -> str:
    return f"scheduling, {connections:,} connections, 1 in {ONE_IN} due"


@asynccontextmanager
async def _crowd(server: Embedded, connections: int, due: int) -> AsyncIterator[Crowd]:
    name = f"bench_due_{secrets.token_hex(4)}"
    await make_database(server, name)
    try:
        admin_dsn = beside(server.superuser_dsn, name)
        async with (
            await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin,
            open_database(beside(server.service_dsn, name), Vault(secrets.token_bytes(32)), largest=1) as db,
        ):
            # Foreign keys would be asked for each row, and find nothing.
            await admin.execute("set session_replication_role = replica")
            for statement in FILL.strip().split(";\n"):
                await admin.execute(statement.encode(), {"connections": connections})
            await admin.execute("reset session_replication_role")
            await admin.execute("vacuum analyze")
            yield Crowd(db, admin, due)
    finally:
        await drop_database(server, name)
