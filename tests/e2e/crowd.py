"""Thousands of persons with a connection each, copies of one that is real: the same vendor's account and tokens."""

import uuid
from collections.abc import Sequence

import psycopg
from demo_process import Demo

from evercgm.settings import parse_key
from evercgm.storage import connections
from evercgm.storage.vault import Vault

PERSONS = 'insert into public."Person" (id, "ownerId") select one, %s from unnest(%s::text[]) as one'
CONNECTIONS = """
insert into public.cgm_connections
  (id, person_id, provider, access_token, refresh_token, token_expires_at, status, sync_cursor, updated_at)
select copy.id, copy.id, c.provider, copy.access, copy.refresh, c.token_expires_at, c.status, c.sync_cursor, now()
from unnest(%s::text[], %s::text[], %s::text[]) as copy (id, access, refresh), public.cgm_connections c
where c.id = %s
"""
STATES = """
insert into cgm_private.sync_state
  (connection_id, person_id, provider, region, vendor_account_id, next_sync_at, history_start, history_done_at, scans,
   connected_at)
select copy, copy, s.provider, s.region, s.vendor_account_id, now() + interval '1 hour', s.history_start,
       s.history_done_at, s.scans, s.connected_at
from unnest(%s::text[]) as copy, cgm_private.sync_state s
where s.connection_id = %s
"""


def copy_often(demo: Demo, connection_id: str, count: int) -> list[str]:
    """So many connections that are up to date but for the last day's readings; their ids. None is due yet."""
    vault = Vault(parse_key("the demo's key", (demo.data_dir / "encryption.key").read_text(), frozenset()))
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with psycopg.connect(demo.line["admin_database_url"]) as conn:
        sealed = conn.execute(
            "select access_token, refresh_token from public.cgm_connections where id = %s", [connection_id]
        ).fetchone()
        assert sealed is not None
        conn.execute(PERSONS.encode(), [str(uuid.uuid4()), ids])
        conn.execute(CONNECTIONS.encode(), [ids, *_sealed_for(vault, connection_id, sealed, ids), connection_id])
        conn.execute(STATES.encode(), [ids, connection_id])
        conn.execute("analyze")
    return ids


def _sealed_for(
    vault: Vault, connection_id: str, pair: Sequence[str], ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    access = vault.open(pair[0], connections.access_place(connection_id))
    refresh = vault.open(pair[1], connections.refresh_place(connection_id))
    return (
        [vault.seal(access, connections.access_place(one)) for one in ids],
        [vault.seal(refresh, connections.refresh_place(one)) for one in ids],
    )
