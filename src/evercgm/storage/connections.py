"""Connections and their tokens: opened for one sync, refreshed by lease, saved by compare-and-set."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from evercgm.core.connection import Status, message_for
from evercgm.core.errors import SealBroken
from evercgm.core.ladder import Scans
from evercgm.core.tokens import Secret, Tokens, needs_no_login
from evercgm.core.verdict import Verdict
from evercgm.storage.database import Connection, Database, Row, load_queries, surely
from evercgm.storage.progress import read_cursor, read_scans, write_cursor, write_scans
from evercgm.storage.vault import Place, Vault

QUERIES = load_queries("connections.sql")
# Longer than the longest vendor call (provider_kit/send.py, 300 s): two refreshers never overlap.
REFRESH_LEASE_S = 390


@dataclass(frozen=True, slots=True)
class Loaded:
    """A connection as one sync needs it. Times aware UTC; ``generation`` counts token pairs.

    ``connected_at``: the last consent; another one means that this sync's plan no longer holds. ``due``: its time has
    come and its vendor is not paused, ``side_due``: another way's has; ``read_at``: when it was read, by the database's
    clock.
    """

    id: str
    person_id: str
    provider: str
    region: str
    account_id: str | None
    tokens: Tokens
    status: Status
    high_water: datetime | None
    device_id: str | None
    generation: int
    history_start: datetime | None
    history_done: bool
    scans: Scans
    next_sync_at: datetime | None
    failure_count: int
    reason: str | None
    adopted: bool
    previous_kept: bool
    refreshing: bool
    connected_at: datetime | None
    quiet: int
    due: bool
    side_due: bool
    keep_alive_due: bool
    has_side_routes: bool
    read_at: datetime = field(compare=False)

    @property
    def has_own_login(self) -> bool:
        """Whether it is synced by its own tokens; else by other ways in alone."""
        return not needs_no_login(self.tokens)


def access_place(connection_id: str) -> Place:
    """Where an access token is sealed for."""
    return Place("cgm_connections", "access_token", connection_id)


def refresh_place(connection_id: str) -> Place:
    """Where a refresh token is sealed for."""
    return Place("cgm_connections", "refresh_token", connection_id)


def previous_place(connection_id: str) -> Place:
    """Where the previous refresh token waits until the new access token has worked."""
    return Place("sync_state", "previous_refresh_token", connection_id)


async def load_for_sync(db: Database, connection_id: str) -> Loaded | None:
    """The connection with its tokens opened; None where it is gone or not ours. Raises SealBroken."""
    async with db.as_worker() as conn:
        return await load(conn, db.vault, connection_id)


async def load(conn: Connection, vault: Vault, connection_id: str) -> Loaded | None:
    """``load_for_sync`` in the caller's transaction."""
    row = await (await conn.execute(QUERIES["load_for_sync"], {"id": connection_id})).fetchone()
    return None if row is None else _loaded(row, vault)


def _loaded(row: Row, vault: Vault) -> Loaded:
    connection_id = row["id"]
    return Loaded(
        id=connection_id,
        person_id=row["person_id"],
        provider=row["provider"],
        region=row["region"],
        account_id=row["vendor_account_id"],
        tokens=Tokens(
            access=vault.open(row["access_token"], access_place(connection_id)),
            refresh=vault.open(row["refresh_token"], refresh_place(connection_id)),
            expires_at=row["token_expires_at"],
            lifetime_s=row["token_lifetime_s"],
        ),
        status=row["status"],
        high_water=read_cursor(row["sync_cursor"]),
        device_id=row["device_id"],
        generation=row["generation"],
        history_start=row["history_start"],
        history_done=row["history_done_at"] is not None,
        scans=read_scans(row["scans"]),
        next_sync_at=row["next_sync_at"],
        failure_count=row["failure_count"],
        reason=row["reason"],
        adopted=row["adopted_at"] is not None,
        previous_kept=row["previous_kept"],
        refreshing=bool(row["refreshing"]),
        connected_at=row["connected_at"],
        quiet=row["quiet_count"],
        due=row["due"],
        side_due=row["side_due"],
        keep_alive_due=row["keep_alive_due"],
        has_side_routes=row["has_side_routes"],
        read_at=row["read_at"],
    )


async def store_connected(
    conn: Connection,
    vault: Vault,
    *,
    person_id: str,
    provider: str,
    region: str,
    account_id: str | None,
    tokens: Tokens,
) -> str:
    """Store a fresh consent, in the row that is there or a new one; returns the connection's id.

    Where the row knew another account or region, or was not ours, cursor and history begin anew.
    """
    found = await connection_of_person(conn, person_id, provider)
    connection_id = found["id"] if found else str(uuid.uuid4())
    values = {"id": connection_id, "person_id": person_id, "provider": provider, "region": region}
    sealed = {**_sealed_pair(vault, connection_id, tokens), "reconnected": True}
    if found is None:
        await conn.execute(QUERIES["insert_connection"], {**values, **sealed})
    else:
        await conn.execute(QUERIES["replace_tokens"], {**values, **sealed})
    anew = found is not None and _begins_anew(found, region, account_id)
    if anew:
        await conn.execute(QUERIES["forget_cursor"], values)
    state = {**values, "account_id": account_id, "lifetime_s": tokens.lifetime_s, "anew": anew}
    await conn.execute(QUERIES["own_now"], state)
    return str(connection_id)


def _begins_anew(found: Row, region: str, account_id: str | None) -> bool:
    known = found["vendor_account_id"]
    return not found["ours"] or found["region"] != region or (known is not None and known != account_id)


async def connection_of_person(conn: Connection, person_id: str, provider: str) -> Row | None:
    """The person's row at this provider, locked: id, vendor_account_id, region, ours."""
    values = {"person_id": person_id, "provider": provider}
    return await (await conn.execute(QUERIES["connection_of_person"], values)).fetchone()


def _sealed_pair(vault: Vault, connection_id: str, tokens: Tokens) -> dict[str, Any]:
    return {
        "access": vault.seal(tokens.access, access_place(connection_id)),
        "refresh": vault.seal(tokens.refresh, refresh_place(connection_id)),
        "expires_at": tokens.expires_at,
    }


async def take_refresh_lease(db: Database, loaded: Loaded) -> bool:
    """Whether we are the one who refreshes this generation now."""
    values = {"id": loaded.id, "generation": loaded.generation, "lease_s": REFRESH_LEASE_S}
    async with db.as_worker() as conn:
        cursor = await conn.execute(QUERIES["take_refresh_lease"], values)
        return await cursor.fetchone() is not None


async def previous_refresh_token(db: Database, loaded: Loaded) -> Secret | None:
    """The refresh token before the present one, where it is still kept; the lease is ours for one more call."""
    values = {"id": loaded.id, "generation": loaded.generation, "lease_s": REFRESH_LEASE_S}
    async with db.as_worker() as conn:
        row = await (await conn.execute(QUERIES["previous_refresh_token"], values)).fetchone()
    try:
        return db.vault.open(row["previous_refresh_token"], previous_place(loaded.id)) if row else None
    except SealBroken:
        # The present pair does open: a rest that does not is no reason to call the operator.
        return None


async def forget_previous_token(db: Database, loaded: Loaded) -> None:
    """The previous refresh token was refused as well, or is not needed any more."""
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["forget_previous_token"], {"id": loaded.id, "generation": loaded.generation})


async def save_refreshed(db: Database, loaded: Loaded, tokens: Tokens, used: Secret) -> bool:
    """Commit a new pair before it is used; False where somebody stored another pair meanwhile.

    ``used``, the refresh token that gave it, is kept until the new access token has worked.

    The vendor has ended the old pair already, so a database that is away for a moment is tried again.
    """
    return await surely(lambda: _save_refreshed(db, loaded, tokens, used))


async def _save_refreshed(db: Database, loaded: Loaded, tokens: Tokens, used: Secret) -> bool:
    previous = db.vault.seal(used, previous_place(loaded.id))
    state = {
        "id": loaded.id,
        "generation": loaded.generation,
        "lifetime_s": tokens.lifetime_s,
        "previous": previous,
    }
    pair = {**_sealed_pair(db.vault, loaded.id, tokens), "id": loaded.id, "reconnected": False}
    async with db.as_worker() as conn:
        await lock(conn, loaded.id)
        cursor = await conn.execute(QUERIES["advance_generation"], state)
        if await cursor.fetchone() is None:
            return False
        await conn.execute(QUERIES["replace_tokens"], pair)
    return True


async def drop_refresh_lease(db: Database, loaded: Loaded) -> None:
    """Let others try: our refresh failed and nothing changed."""
    async with db.as_worker() as conn:
        await conn.execute(QUERIES["drop_refresh_lease"], {"id": loaded.id, "generation": loaded.generation})


async def note_progress(
    conn: Connection,
    connection_id: str,
    connected_at: datetime | None,
    *,
    high_water: datetime | None = None,
    history_start: datetime | None = None,
    history_done: bool = False,
    scans: Scans | None = None,
    account_id: str | None = None,
    device_id: str | None = None,
) -> bool:
    """Move the cursor in the transaction that stored the readings; False where the connection is gone.

    ``connected_at`` as the sync saw it when it began: nothing moves where it was connected anew since.
    """
    values = {
        "id": connection_id,
        "connected_at": connected_at,
        "sync_cursor": None if high_water is None else write_cursor(high_water),
        "history_start": history_start,
        "history_done": history_done,
        "scans": None if scans is None else write_scans(scans),
        "account_id": account_id,
        "device_id": device_id,
    }
    return await (await conn.execute(QUERIES["note_progress"], values)).fetchone() is not None


async def lock(conn: Connection, connection_id: str) -> bool:
    """Lock the connection's row before anything else of it, so that all take locks in one order; False: it is gone."""
    return await (await conn.execute(QUERIES["lock_connection"], {"id": connection_id})).fetchone() is not None


async def note_success(conn: Connection, loaded: Loaded, next_sync_at: datetime | None, quiet: int) -> None:
    """The sync went well: connected, no reason, the previous refresh token is forgotten; the ``quiet``-th without news.

    Nothing is written where a reconnect has happened since: that one's first sync is still to come.
    """
    await lock(conn, loaded.id)
    values = {"id": loaded.id, "generation": loaded.generation, "next_sync_at": next_sync_at, "quiet": quiet}
    await conn.execute(QUERIES["note_success"], values)


async def note_failure(conn: Connection, loaded: Loaded, verdict: Verdict) -> bool:
    """The sync failed; whether its reason is another than before.

    Nothing is written where a reconnect has happened since it was loaded, and that is no news either.
    """
    values = {
        "id": loaded.id,
        "generation": loaded.generation,
        "status": verdict.status,
        "reason": verdict.reason,
        "message": message_for(verdict.reason),
        "next_sync_at": verdict.next_sync_at,
        "failure_count": verdict.count,
    }
    await lock(conn, loaded.id)
    row = await (await conn.execute(QUERIES["note_failure"], values)).fetchone()
    return row is not None and row["was"] != verdict.reason


async def put_off(conn: Connection, connection_id: str) -> None:
    """A bug ended its sync: not due again for ten minutes, everything else as it was."""
    await conn.execute(QUERIES["put_off"], {"id": connection_id})


async def wake(conn: Connection, connection_id: str) -> None:
    """Due now, because it has another way in; one that is paused stays so."""
    await conn.execute(QUERIES["wake"], {"id": connection_id})


async def due(conn: Connection, most: int) -> tuple[list[str], list[str]]:
    """Ids of connections to sync now, by the database's clock: those that somebody asked for, those that are due.

    ``most`` of each: however many were asked for, they take no place from those that are due.
    """
    rows = await (await conn.execute(QUERIES["due"], {"most": most})).fetchall()
    asked = [row["connection_id"] for row in rows if row["asked"]]
    return asked, [row["connection_id"] for row in rows if not row["asked"]]


async def own_connection(conn: Connection, connection_id: str) -> Row | None:
    """As the person: id, person_id, provider, region of a connection that is theirs."""
    cursor = await conn.execute(QUERIES["own_connection"], {"connection_id": connection_id})
    return await cursor.fetchone()


async def own_connections(
    conn: Connection, *, person_id: str | None = None, connection_id: str | None = None
) -> list[Row]:
    """As the person: id, person_id, status, provider, region, reason and waits_s of their connections that we sync."""
    values = {"person_id": person_id, "connection_id": connection_id}
    return await (await conn.execute(QUERIES["own_connections"], values)).fetchall()


async def owns_person(conn: Connection, person_id: str) -> bool:
    """As the person: whether this person belongs to the caller."""
    cursor = await conn.execute(QUERIES["own_person"], {"person_id": person_id})
    return await cursor.fetchone() is not None


async def blank_tokens(conn: Connection, connection_id: str, person_id: str) -> None:
    """Forget both tokens, the previous one, and all other ways in; a refresh under way cannot bring them back."""
    await conn.execute(QUERIES["blank_tokens"], {"id": connection_id, "person_id": person_id})
    await conn.execute(QUERIES["blank_previous_token"], {"id": connection_id})
    await conn.execute(QUERIES["blank_routes"], {"id": connection_id})


async def delete(conn: Connection, connection_id: str, person_id: str) -> int | None:
    """Delete the row; its readings stay, unlinked. Returns how many those are.

    None where there is nothing to delete: the row is gone already, or has new tokens since they were blanked.
    """
    counted = await (await conn.execute(QUERIES["count_readings"], {"id": connection_id})).fetchone()
    values = {"id": connection_id, "person_id": person_id}
    gone = await (await conn.execute(QUERIES["delete_connection"], values)).fetchone()
    return int(counted["readings"]) if counted and gone else None


async def note_seal_broken(conn: Connection, connection_id: str, again_in: timedelta) -> None:
    """The stored tokens do not open with any key that we have."""
    values = {"id": connection_id, "again_in": again_in, "message": message_for("seal_broken")}
    await lock(conn, connection_id)
    await conn.execute(QUERIES["note_seal_broken"], values)


async def renew_page(conn: Connection, after: str, most: int) -> list[Row]:
    """Have the next ``most`` of ours renewed at the vendor: id, and kind (status, or ``without tokens``)."""
    return await (await conn.execute(QUERIES["renew_page"], {"after": after, "most": most})).fetchall()
