"""Bar: keys rotated in batches of 500 connections, against the same batches by UNNEST with values that are ready."""

import gc
import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta

import psycopg

from bench.kit import Bar, Plain, ratio_of
from evercgm.actions import rotate_keys
from evercgm.core.tokens import Secret
from evercgm.storage import connections, sealed
from evercgm.storage.database import Database, open_database
from evercgm.storage.embedded import Embedded
from evercgm.storage.vault import Vault

BATCHES = 10
ROUNDS = 9
MANY = 100_000
REACH, REACH_S, REACH_US = 2.0, 60.0, 30.0
# As long as Dexcom's own tokens: a web token for access, a short text for refresh.
ACCESS, REFRESH = 1200, 36
_PERSONS = 'insert into public."Person" (id, "ownerId") select i, i from unnest(%s::text[]) as i'
_CONNECTIONS = """
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
select i, i, 'dexcom', a, r, %s, now() from unnest(%s::text[], %s::text[], %s::text[]) as v (i, a, r)
"""
_STATES = """
insert into cgm_private.sync_state (connection_id, person_id, region) select i, i, 'us' from unnest(%s::text[]) as i
"""
_PLAIN = """
update public.cgm_connections c set access_token = v.access, refresh_token = v.refresh
from unnest(%s::text[], %s::text[], %s::text[]) as v (id, access, refresh) where c.id = v.id
"""
Tokens = tuple[list[str], list[str], list[str]]


async def run(server: Embedded) -> list[Bar]:
    """Rounds of ten batches in turn, then the whole command's work on 100,000, then a token alone."""
    keys = [secrets.token_bytes(32) for _ in range(2)]
    vaults = [Vault(keys[0], (keys[1],)), Vault(keys[1], (keys[0],))]
    async with (
        await psycopg.AsyncConnection.connect(server.owner_dsn, autocommit=True) as plain,
        await psycopg.AsyncConnection.connect(server.superuser_dsn, autocommit=True) as admin,
        open_database(server.service_dsn, vaults[0], largest=1) as one,
        open_database(server.service_dsn, vaults[1], largest=1) as other,
    ):
        async with _alone(admin):
            await _fill(admin, vaults[0], BATCHES * sealed.PAGE)
            ratio = await _in_turn(plain, [one, other], vaults)
            await _fill(admin, vaults[0], MANY)
            await rotate_keys.rotate(one)
            whole = await _whole(other)
    return [_batches_bar(*ratio), _whole_bar(whole), _token_bar(vaults[0])]
