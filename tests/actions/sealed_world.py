"""A stored secret in every place, put there by whatever writes it."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from evercgm.core.tokens import Secret, Tokens
from evercgm.storage import attempts, connections, identity, sealed
from evercgm.storage.attempts import Waiting
from evercgm.storage.database import Database
from evercgm.storage.vault import Place, Vault


def run(dsn: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        cursor = conn.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def person(dsn: str) -> str:
    person_id = str(uuid.uuid4())
    run(dsn, 'insert into public."Person" (id, "ownerId") values (%s, %s)', person_id, str(uuid.uuid4()))
    return person_id


def pair(name: str = "token") -> Tokens:
    return Tokens(Secret(f"access-{name}"), Secret(f"refresh-{name}"), datetime.now(UTC) + timedelta(hours=2), 7200)


async def fill(db: Database, dsn: str) -> str:
    """A value in every place, by whatever writes there; the id of a connection of ours."""
    person_id = person(dsn)
    async with db.as_worker() as conn:
        connection_id = await connections.store_connected(
            conn, db.vault, person_id=person_id, provider="dexcom", region="us", account_id=None, tokens=pair()
        )
    loaded = await connections.load_for_sync(db, connection_id)
    assert loaded is not None
    assert await connections.save_refreshed(db, loaded, pair("2"), loaded.tokens.refresh)
    waiting = Waiting(person_id, "dexcom", "us", "account", pair("3"))
    async with db.as_worker() as conn:
        handover, _ = await attempts.open_attempt(
            conn, person_id=person_id, owner_id="owner", route="dexcom", region="us", return_to="/"
        )
        attempt = await attempts.look(conn, handover)
        assert attempt is not None
        assert await attempts.use_handover(conn, db.vault, handover, attempt["id"])
        await attempts.keep_waiting(conn, db.vault, "owner", waiting)
    await identity.load_keys(db, "http://cgm.test/auth/v1")
    route = {column: db.vault.seal(Secret(column), Place("routes", column, "r-1")) for column in ("secret", "session")}
    run(
        dsn,
        """insert into cgm_private.routes
             (id, connection_id, person_id, route, region, session_expires_at, secret, session)
           values ('r-1', %s, %s, 'share', 'us', now(), %s, %s)""",
        connection_id,
        person_id,
        route["secret"],
        route["session"],
    )
    aside = {column: db.vault.seal(Secret(column), Place("cgm_connections", column, "q-1")) for column in sealed.TOKENS}
    run(
        dsn,
        """insert into cgm_private.quarantined_connections (id, person_id, connection, reason)
           values ('q-1', %s, %s, 'unknown_provider')""",
        person_id,
        Jsonb({"id": "q-1", "provider": "eversense", "metadata": None, **aside}),
    )
    run(
        dsn,
        """insert into public.cgm_connections
           (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
           values ('h-1', %s, 'libre', %s, %s, now(), now())""",
        person(dsn),
        f"{'ab' * 16}:{'cd' * 16}:ef01",
        "plain-refresh-token",
    )
    return connection_id


def fill_connections(vault: Vault, dsn: str, count: int) -> None:
    """So many connections of ours, a person each, written at once."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    tokens = [
        [vault.seal(Secret(f"{column}-{id_}"), Place("cgm_connections", column, id_)) for id_ in ids]
        for column in sealed.TOKENS
    ]
    with psycopg.connect(dsn) as conn:
        conn.execute('insert into public."Person" (id, "ownerId") select i, i from unnest(%s::text[]) as i', [ids])
        conn.execute(
            """insert into public.cgm_connections
               (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
               select i, i, 'dexcom', a, r, now() + interval '2 hours', now()
               from unnest(%s::text[], %s::text[], %s::text[]) as v (i, a, r)""",
            [ids, *tokens],
        )
        conn.execute(
            """insert into cgm_private.sync_state (connection_id, person_id, provider, region)
               select i, i, 'dexcom', 'us' from unnest(%s::text[]) as i""",
            [ids],
        )


async def fill_connection(db: Database, dsn: str) -> str:
    """A connection of a new person."""
    async with db.as_worker() as conn:
        return await connections.store_connected(
            conn, db.vault, person_id=person(dsn), provider="dexcom", region="us", account_id=None, tokens=pair()
        )
