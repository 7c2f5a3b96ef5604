"""Keys rotated in batches of 500 connections, against the same batches by UNNEST with values that are ready."""

import secrets
import time
import uuid
from collections.abc import Sequence

import psycopg
from psycopg import sql

from bench.kit import Bar, Plain, beside, execute, make_database, ms, ratio_of
from evercgm.actions import rotate_keys
from evercgm.core.tokens import Secret
from evercgm.storage import connections, sealed
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.vault import Vault

FEW, MANY = 10 * sealed.PAGE, 100_000
ROUNDS = 9
TOKENS = 2_000
REACH, REACH_S, REACH_US = 2.0, 60.0, 30.0
# Dexcom's access token is a web token of about a thousand characters, the one to refresh with a short text.
ACCESS, REFRESH = Secret("a" * 1000), Secret("r" * 36)
_PERSONS = 'insert into public."Person" (id, "ownerId") select i, i from unnest(%s::text[]) as i'
_CONNECTIONS = """
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
select i, i, 'dexcom', a, r, now() + interval '2 hours', now()
from unnest(%s::text[], %s::text[], %s::text[]) as v (i, a, r)
"""
_STATES = """
insert into cgm_private.sync_state (connection_id, person_id, provider, region)
select i, i, 'dexcom', 'us' from unnest(%s::text[]) as i
"""
_PLAIN = """
update public.cgm_connections c
set access_token = v.access, refresh_token = v.refresh
from unnest(%s::text[], %s::text[], %s::text[]) as v (id, access, refresh)
where c.id = v.id
"""
Ready = list[tuple[list[str], list[str], list[str]]]


async def run(server: Embedded) -> list[Bar]:
    """In a database of its own: rounds in turn over a few batches, then all of a rotation of many connections."""
    name = f"bench_keys_{secrets.token_hex(4)}"
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    await make_database(server, name)
    try:
        async with (
            await psycopg.AsyncConnection.connect(beside(server.owner_dsn, name), autocommit=True) as plain,
            open_database(beside(server.service_dsn, name), Vault(new, (old,)), largest=1) as db,
        ):
            ready = await _fill(plain, Vault(old), FEW)
            ours, theirs = await _in_turn(db, plain, ready)
            await _fill(plain, Vault(old), MANY - FEW)
            many = await _seconds(db)
    finally:
        await execute(server.superuser_dsn, sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
    return [_bar(ours, theirs), _bar_of_many(many), _bar_of_a_token(Vault(old))]


async def _fill(plain: Plain, vault: Vault, count: int) -> Ready:
    """New connections under the old key; their values once more, sealed anew, in batches."""
    batches = []
    for _ in range(count // sealed.PAGE):
        ids = sorted(str(uuid.uuid4()) for _ in range(sealed.PAGE))
        batches.append((ids, *_sealed(vault, ids)))
        await plain.execute(_PERSONS, (ids,))
        await plain.execute(_CONNECTIONS, batches[-1])
        await plain.execute(_STATES, (ids,))
    await plain.execute("vacuum analyze")
    return batches


def _sealed(vault: Vault, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    return (
        [vault.seal(ACCESS, connections.access_place(id_)) for id_ in ids],
        [vault.seal(REFRESH, connections.refresh_place(id_)) for id_ in ids],
    )


async def _in_turn(db: Database, plain: Plain, ready: Ready) -> tuple[list[float], list[float]]:
    """Seconds for all batches; the plain way puts everything back under the old key, one transaction a batch."""
    ours, theirs = [], []
    for n in range(ROUNDS + 1):
        took = await _seconds(db)
        began = time.perf_counter()
        for batch in ready:
            await plain.execute(_PLAIN, batch)
        if n:
            ours.append(took)
            theirs.append(time.perf_counter() - began)
        # The dead rows of one round must not slow the next.
        await plain.execute("vacuum public.cgm_connections")
    return ours, theirs


async def _seconds(db: Database) -> float:
    """A whole rotation, with the look at every value at its end."""
    began = time.perf_counter()
    done = await rotate_keys.rotate(db)
    assert done.left.finished
    assert done.resealed
    return time.perf_counter() - began


def _bar(ours: Sequence[float], theirs: Sequence[float]) -> Bar:
    ratio = ratio_of(ours, theirs)
    name = f"key rotation, {FEW:,} connections in batches of {sealed.PAGE}"
    note = "ours reads, opens, seals and writes each value, and at the end opens every one once more"
    return Bar(
        name, f"{ms(ours):.0f} ms", f"{ms(theirs):.0f} ms", f"{ratio:.2f} x", f"<= {REACH} x", ratio <= REACH, (note,)
    )


def _bar_of_many(took: float) -> Bar:
    return Bar(f"key rotation, {MANY:,} connections", f"{took:.1f} s", "", "", f"<= {REACH_S:.0f} s", took <= REACH_S)


def _bar_of_a_token(vault: Vault) -> Bar:
    place = connections.access_place(str(uuid.uuid4()))
    took = {}
    for name, secret in (("access", ACCESS), ("refresh", REFRESH)):
        began = time.process_time()
        for _ in range(TOKENS):
            vault.open(vault.seal(secret, place), place)
        took[name] = (time.process_time() - began) / TOKENS * 1e6
    us = max(took.values())
    notes = [f"{took['refresh']:.1f} µs for one of {len(REFRESH.reveal())} characters"]
    return Bar(
        f"sealing and opening a token of {len(ACCESS.reveal()):,} characters, CPU",
        f"{us:.1f} µs", "", "", f"< {REACH_US:.0f} µs", us < REACH_US, notes,
    )  # fmt: skip
