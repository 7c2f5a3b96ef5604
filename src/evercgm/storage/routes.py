"""Other ways in of a connection, beside its own: their sessions sealed, where each stands, what troubles it."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from evercgm.core.errors import SealBroken
from evercgm.core.tokens import NO_SECRET, Tokens
from evercgm.storage.database import Connection, Database, Row, load_queries, surely
from evercgm.storage.vault import Place, Vault

QUERIES = load_queries("routes.sql")


@dataclass(frozen=True, slots=True)
class SideRoute:
    """A way in as one sync needs it. Times aware UTC.

    ``tokens``: the session, and what signs in again where that may be kept. ``newest_at``: of what came by this way.
    ``next_sync_at`` None: only the person's next sign-in wakes it; ``due``: it has come, by the database's clock.
    ``seal_broken``: no key of ours opens what is stored.
    ``connected_at``: that of the last sign-in.
    """

    id: str
    connection_id: str
    person_id: str
    route: str
    region: str
    account_id: str | None
    tokens: Tokens
    newest_at: datetime | None
    reason: str | None
    failure_count: int
    next_sync_at: datetime | None
    connected_at: datetime
    due: bool
    seal_broken: bool


@dataclass(frozen=True, slots=True)
class RouteView:
    """Another way in as its owner may see it; times aware UTC. ``lives``: it needs no sign-in to go on."""

    route: str
    region: str
    reason: str | None
    newest_at: datetime | None
    connected_at: datetime
    lives: bool


def _secret_place(route_id: str) -> Place:
    return Place("routes", "secret", route_id)


def _session_place(route_id: str) -> Place:
    return Place("routes", "session", route_id)


async def store(
    conn: Connection,
    vault: Vault,
    *,
    connection_id: str,
    person_id: str,
    route: str,
    region: str,
    account_id: str | None,
    tokens: Tokens,
) -> None:
    """Store a fresh sign-in. In the caller's transaction, as the worker."""
    named = {"connection_id": connection_id, "route": route}
    found = await (await conn.execute(QUERIES["id_of"], named)).fetchone()
    route_id = found["id"] if found else str(uuid.uuid4())
    values = {**named, "person_id": person_id, "region": region, "account_id": account_id}
    await conn.execute(QUERIES["store"], {**values, **_sealed(vault, route_id, tokens)})


async def of_connection(conn: Connection, vault: Vault, connection_id: str) -> list[SideRoute]:
    """All of them, opened; one that no key opens holds nothing and says so: it must not hold the others up."""
    rows = await (await conn.execute(QUERIES["of_connection"], {"connection_id": connection_id})).fetchall()
    return [_opened(vault, row) for row in rows]


async def may_be_of_another(conn: Connection, connection_id: str, route: str, account_id: str | None) -> bool:
    """Whether a way in that is there is of another account of the vendor's than this one, or might be.

    Where nobody knows whose it is, nothing was read of it yet, or by a version that noted no account.
    """
    named = {"connection_id": connection_id, "route": route}
    row = await (await conn.execute(QUERIES["id_of"], named)).fetchone()
    if row is None:
        return False
    if row["vendor_account_id"] is None:
        return row["newest_at"] is not None
    return bool(row["vendor_account_id"] != account_id)


async def told(conn: Connection, connection_ids: list[str]) -> dict[str, tuple[RouteView, ...]]:
    """As the worker, of connections that were proven to be the caller's: their other ways in, by connection."""
    found: dict[str, tuple[RouteView, ...]] = {}
    if connection_ids:
        for row in await (await conn.execute(QUERIES["told"], {"connection_ids": connection_ids})).fetchall():
            connection_id = row.pop("connection_id")
            found[connection_id] = (*found.get(connection_id, ()), RouteView(**row))
    return found


async def living(conn: Connection, connection_ids: list[str]) -> set[str]:
    """As the worker, of connections that were proven to be the caller's: where another way in needs no sign-in."""
    if not connection_ids:
        return set()
    rows = await (await conn.execute(QUERIES["living"], {"connection_ids": connection_ids})).fetchall()
    return {row["connection_id"] for row in rows}


async def save_session(db: Database, side: SideRoute, tokens: Tokens) -> bool:
    """Commit a renewed session; False where the person has signed in anew, or left, meanwhile.

    It cost a sign-in, so a database that is away for a moment is tried again.
    """
    return await surely(lambda: _save_session(db, side, tokens))


async def _save_session(db: Database, side: SideRoute, tokens: Tokens) -> bool:
    values = {**_sealed(db.vault, side.id, tokens), "connected_at": side.connected_at}
    async with db.as_worker() as conn:
        return await (await conn.execute(QUERIES["save_session"], values)).fetchone() is not None


async def is_current(conn: Connection, side: SideRoute) -> bool:
    """False: the person has removed it, or signed in anew, since it was read. While the connection is locked."""
    values = {"id": side.id, "connected_at": side.connected_at}
    return await (await conn.execute(QUERIES["same_sign_in"], values)).fetchone() is not None


async def note(
    conn: Connection,
    side: SideRoute,
    *,
    newest_at: datetime | None = None,
    account_id: str | None = None,
    reason: str | None = None,
    failure_count: int = 0,
    next_sync_at: datetime | None,
) -> None:
    """How a read of it ended; nothing where the person has signed in anew meanwhile."""
    values = {
        "id": side.id,
        "connected_at": side.connected_at,
        "newest_at": newest_at,
        "account_id": account_id,
        "reason": reason,
        "failure_count": failure_count,
        "next_sync_at": next_sync_at,
    }
    await conn.execute(QUERIES["note"], values)


async def forget(conn: Connection, connection_id: str, route: str | None = None) -> bool:
    """Delete one way, or all of them; whether there was one."""
    values = {"connection_id": connection_id, "route": route}
    return bool(await (await conn.execute(QUERIES["forget"], values)).fetchall())


def _sealed(vault: Vault, route_id: str, tokens: Tokens) -> dict[str, object]:
    return {
        "id": route_id,
        "secret": vault.seal(tokens.refresh, _secret_place(route_id)),
        "session": vault.seal(tokens.access, _session_place(route_id)),
        "expires_at": tokens.expires_at,
    }


def _opened(vault: Vault, row: Row) -> SideRoute:
    try:
        session = vault.open(row["session"], _session_place(row["id"]))
        secret = vault.open(row["secret"], _secret_place(row["id"]))
        broken = False
    except SealBroken:
        session, secret, broken = NO_SECRET, NO_SECRET, True
    return SideRoute(
        id=row["id"],
        connection_id=row["connection_id"],
        person_id=row["person_id"],
        route=row["route"],
        region=row["region"],
        account_id=row["vendor_account_id"],
        tokens=Tokens(access=session, refresh=secret, expires_at=row["session_expires_at"]),
        newest_at=row["newest_at"],
        reason=row["reason"],
        failure_count=row["failure_count"],
        next_sync_at=row["next_sync_at"],
        connected_at=row["connected_at"],
        due=bool(row["due"]),
        seal_broken=broken,
    )
