"""Which key each stored secret needs, and moving them all under the primary key while readers and writers run.

A secret is opened only to be sealed anew, or to see whether it opens; nothing here tells one.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from evercgm.actions.watching import unwatched
from evercgm.core.audit import OPERATOR
from evercgm.core.errors import SealBroken
from evercgm.storage import audit, sealed
from evercgm.storage.database import Connection, Database, Row
from evercgm.storage.host_envelope import Form, form_of
from evercgm.storage.sealed import STORES, Change, Store
from evercgm.storage.vault import Place, Vault, named_key

# What another process holds or has just rewritten is looked at again this often, and then left for the next run.
MOST_TURNS = 6
AGAIN_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """What a stored value turned out to be; ``key_id``: the key that it names, whether or not it opens."""

    form: Form
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found: how many values of each kind, by place; ``ring`` by key id, the primary first.

    ``needed``: how many values each key of the ring opens; ``unopened``: values of ours that do not open. Both with
    those that were written behind the walk, which are in no place.
    """

    ring: tuple[str, ...]
    places: Mapping[str, Mapping[Kind, int]]
    needed: Mapping[str, int]
    unopened: int

    @property
    def finished(self) -> bool:
        """Whether everything opens, and needs no key but the primary one."""
        return not self.unopened and not any(self.needed[name] for name in self.ring[1:])


@dataclass(frozen=True, slots=True)
class Rotation:
    """How many values were sealed anew, by place, and what there was after it."""

    resealed: Mapping[str, int]
    left: Inventory


@dataclass(frozen=True, slots=True)
class Step:
    """How far a walk has come, in rows."""

    done: int
    rows: int


Watch = Callable[[Step], None]


async def look(db: Database, watch: Watch = unwatched) -> Inventory:
    """Open every stored value once, page by page; changes nothing.

    Then ask once more, at one moment, which keys all values name: a row that is written after the walk has passed it
    must not let its key be called removable.
    """
    seen = _Look(db.vault)
    await _walk(db, STORES, watch, seen.visit)
    async with db.as_worker() as conn:
        seen.add_late(await sealed.named_everywhere(conn))
    return Inventory(db.vault.key_ids, seen.places, seen.needed, seen.unopened)


async def rotate(db: Database, watch: Watch = unwatched) -> Rotation:
    """Seal everything anew that another key of the ring opens, then look at it all.

    A run that was cut off, or a second one beside it, does no harm: each batch looks for what is not yet done.
    """
    anew = _Anew(db.vault)
    for turn in range(MOST_TURNS):
        if turn:
            await asyncio.sleep(AGAIN_AFTER_S)
        anew.missed = 0
        await _walk(db, [store for store in STORES if store.resealed], watch, anew.visit)
        if not anew.missed:
            break
    left = await look(db, watch)
    if anew.resealed:
        await _record_end(db, anew.resealed.total(), left)
    return Rotation(anew.resealed, left)


async def _record_end(db: Database, resealed: int, left: Inventory) -> None:
    others = sum(left.needed[name] for name in left.ring[1:])
    counts = {"resealed": resealed, "under_other_keys": others, "unopened": left.unopened}
    async with db.as_worker() as conn:
        await audit.record(conn, OPERATOR, "keys_rotated", None, phase="ended", key_id=left.ring[0], **counts)


Visit = Callable[[Connection, Store, list[Row]], Awaitable[None]]


async def _walk(db: Database, stores: Sequence[Store], watch: Watch, visit: Visit) -> None:
    """Every page of every store, each in a transaction of its own."""
    async with db.as_worker() as conn:
        counts = await sealed.row_counts(conn)
    total = sum(counts[store.name] for store in stores)
    done = 0
    for store in stores:
        after: str | None = ""
        while after is not None:
            async with db.as_worker() as conn:
                rows = await sealed.page(conn, store, after)
                await visit(conn, store, rows)
            done += len(rows)
            watch(Step(done, max(done, total)))
            after = rows[-1]["id"] if len(rows) == sealed.PAGE else None


class _Look:
    """Counts what there is."""

    def __init__(self, vault: Vault):
        self._vault = vault
        self.places = {store.label(column): Counter[Kind]() for store in STORES for column in store.columns}
        self.needed = dict.fromkeys(vault.key_ids, 0)
        self.unopened = 0
        # As the last question counts: by owner and the key that is named.
        self._named = Counter[tuple[bool, str | None]]()

    async def visit(self, _conn: Connection, store: Store, rows: list[Row]) -> None:
        """One page."""
        for row in rows:
            for column in store.columns:
                kind = _kind(self._vault, row[column], store.place(column, row["id"]))
                self.places[store.label(column)][kind] += 1
                if kind.form != "empty":
                    self._named[store.ours, kind.key_id] += 1
                    self._count(store.ours, kind.key_id if kind.form == "ours" else None, 1)

    def add_late(self, named: Mapping[tuple[bool, str | None], int]) -> None:
        """Count what the walk has not seen; what it saw and is no longer there stays counted."""
        for (ours, name), count in named.items():
            self._count(ours, name, max(0, count - self._named[ours, name]))

    def _count(self, ours: bool, opened_by: str | None, count: int) -> None:
        if opened_by in self.needed:
            self.needed[opened_by] += count
        elif ours:
            self.unopened += count


def _kind(vault: Vault, stored: str, place: Place) -> Kind:
    if not stored:
        return Kind("empty")
    try:
        vault.open(stored, place)
    except SealBroken:
        form = form_of(stored)
        return Kind("unreadable" if form == "ours" else form, named_key(stored))
    return Kind("ours", named_key(stored))


class _Anew:
    """Seals anew; ``missed``: rows of this turn that somebody else held or rewrote meanwhile."""

    def __init__(self, vault: Vault):
        self._vault = vault
        self.resealed = Counter[str]()
        self.missed = 0

    async def visit(self, conn: Connection, store: Store, rows: list[Row]) -> None:
        """One page: what needs it is opened, sealed and written, in this transaction."""
        changes = [change for row in rows if (change := _change(self._vault, store, row)) is not None]
        if not changes:
            return
        taken = await sealed.reseal(conn, store, changes)
        self.missed += len(changes) - len(taken)
        if taken and not self.resealed:
            await audit.record(conn, OPERATOR, "keys_rotated", None, phase="begun", key_id=self._vault.key_ids[0])
        for change in changes:
            if change.row_id in taken:
                self.resealed.update(store.label(column) for column in change.columns)


def _change(vault: Vault, store: Store, row: Row) -> Change | None:
    """The row's values that another key opens, under the primary one; None where there are none."""
    columns: dict[str, tuple[str, str]] = {}
    for column in store.columns:
        stored = row[column]
        if not stored or named_key(stored) == vault.key_ids[0]:
            continue
        place = store.place(column, row["id"])
        try:
            columns[column] = (stored, vault.seal(vault.open(stored, place), place))
        except SealBroken:
            # It stays as it is; the look at the end counts it.
            continue
    return Change(row["id"], columns) if columns else None
