"""The one list of places where sealed values live, read in pages and re-sealed by compare-and-set.

A new column for a secret needs an entry here; tests/storage/test_sealed.py asks the catalog.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evercgm.storage.database import Connection, Row, load_queries
from evercgm.storage.vault import Place

QUERIES = load_queries("sealed.sql")
PAGE = 500


@dataclass(frozen=True, slots=True)
class Store:
    """Rows with sealed columns; ``name`` also names their queries.

    ``sealed_for``: the table in their ``Place``. ``ours``: what is in them must open; else it may be the host app's.
    ``resealed``: rotation may write here.
    """

    name: str
    relation: str
    columns: tuple[str, ...]
    sealed_for: str
    ours: bool = True
    resealed: bool = True

    def place(self, column: str, row_id: str) -> Place:
        """What a value of this column and row is sealed for."""
        return Place(self.sealed_for, column, row_id)

    def label(self, column: str) -> str:
        """How people read it."""
        return f"{self.name}.{column}"


TOKENS = ("access_token", "refresh_token")
STORES = (
    Store("cgm_connections", "public.cgm_connections", TOKENS, "cgm_connections"),
    Store("sync_state", "cgm_private.sync_state", ("previous_refresh_token",), "sync_state"),
    Store(
        "oauth_attempts",
        "cgm_private.oauth_attempts",
        ("pkce_verifier", "sealed_access", "sealed_refresh"),
        "oauth_attempts",
    ),
    Store("routes", "cgm_private.routes", ("secret", "session"), "routes"),
    Store("signing_keys", "cgm_private.signing_keys", ("sealed_private",), "signing_keys"),
    Store("quarantined_connections", "cgm_private.quarantined_connections", TOKENS, "cgm_connections", ours=False),
    Store("host_connections", "public.cgm_connections", TOKENS, "cgm_connections", ours=False, resealed=False),
)


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """New sealed texts of one row, by column, each with the text that it was made from."""

    row_id: str
    columns: dict[str, tuple[str, str]]


async def row_counts(conn: Connection) -> dict[str, int]:
    """How many rows each store has, by its name."""
    return {row["name"]: row["rows"] for row in await (await conn.execute(QUERIES["row_counts"])).fetchall()}


async def page(conn: Connection, store: Store, after: str) -> list[Row]:
    """The next rows behind an id (at first ''), at most PAGE: id and the columns as they are stored."""
    values = {"after": after, "most": PAGE}
    return await (await conn.execute(QUERIES[f"page_{store.name}"], values)).fetchall()


async def reseal(conn: Connection, store: Store, changes: Sequence[Change]) -> set[str]:
    """Write one batch; the ids of the rows that took it. The others changed since they were read, are held, or gone."""
    values: dict[str, object] = {"ids": [change.row_id for change in changes]}
    for column in store.columns:
        pairs = [change.columns.get(column, ("", "")) for change in changes]
        # No comma is in a sealed text, and none is empty. As arrays they cost the driver more than sealing does.
        values[f"old_{column}"] = ",".join(old for old, _ in pairs)
        values[f"new_{column}"] = ",".join(new for _, new in pairs)
    rows = await (await conn.execute(QUERIES[f"reseal_{store.name}"], values)).fetchall()
    return {row["id"] for row in rows}


async def named_keys(conn: Connection) -> dict[str | None, int]:
    """How many values of ours name each key id, without opening any; None: they name no key."""
    return {key_id: count for (ours, key_id), count in (await named_everywhere(conn)).items() if ours}


async def named_everywhere(conn: Connection) -> dict[tuple[bool, str | None], int]:
    """The same over every store, at one moment; the first of each pair says whether the store is ours."""
    rows = await (await conn.execute(QUERIES["named_keys"])).fetchall()
    return {(row["ours"], row["key_id"]): row["sealed"] for row in rows}
