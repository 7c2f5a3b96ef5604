"""One run of all deeds in a database of a given size and shape, and what in it grew against another run."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from bench.crowd import NOBODY, Size, fill
from hot_deeds import DEEDS
from hot_scene import open_scene
from plans import Statement, by_name, explain_from_now_on

# A tree of an index that is ten times as large has one level more: three pages become four. Where few are read at all,
# one page more is much in proportion and little in truth. And where each row is found by itself, its page and those of
# the tree above it are what it costs, however cheap another way was among fewer.
MOST_GROWTH = 1.5
A_FEW_PAGES, A_FEW_ROWS = 8, 20
PAGES_A_ROW = 5
NO_OWNER_INDEX = 'drop index public."Person_ownerId_idx"'
# Standalone; and as a host app has its tables: no index on "ownerId", row-level security on or off.
SHAPES: Mapping[str, Sequence[str]] = {
    "standalone": (),
    "host": (NO_OWNER_INDEX,),
    "host without row-level security": (
        NO_OWNER_INDEX,
        'alter table public."Person" disable row level security',
        "alter table public.glucose_readings disable row level security",
    ),
}
Run = Mapping[str, Sequence[Statement]]


@dataclass(frozen=True, slots=True)
class Grown:
    """A statement of a deed that looked at more than it did among fewer, or before."""

    deed: str
    statement: str
    pages: tuple[int, int]
    rows: tuple[int, int]


@contextmanager
def crowded(postgres: Any, template: str) -> Iterator[Callable[[Size], Any]]:
    """Makes one database grow to the sizes asked for, one after the other; gone afterwards."""
    database = postgres.create(f"test_{secrets.token_hex(6)}", template)
    sizes = [NOBODY]

    def grow(size: Size) -> Any:
        fill(database.admin_dsn, size, sizes[-1])
        sizes.append(size)
        return database

    try:
        yield grow
    finally:
        postgres.drop(database.name)


def run_on_a_copy(postgres: Any, database: Any, changes: Sequence[str] = (), deeds: Collection[str] = DEEDS) -> Run:
    """Deeds on a copy of a database, changed before; each once to warm up, and once more."""
    copy = postgres.create(f"test_{secrets.token_hex(6)}", database.name, large=True)
    try:
        with psycopg.connect(copy.admin_dsn, autocommit=True) as admin:
            for change in changes:
                admin.execute(change.encode())
        explain_from_now_on(copy.admin_dsn)
        return asyncio.run(_run_all(copy, deeds))
    finally:
        postgres.drop(copy.name)


async def _run_all(database: Any, deeds: Collection[str]) -> Run:
    async with open_scene(database) as scene:
        for name in deeds:
            await scene.hear(DEEDS[name])
        return {name: await scene.hear(DEEDS[name]) for name in deeds}


def grown(before: Run, after: Run, but_for: Collection[str] = ()) -> list[Grown]:
    """What grew in pages or rows beyond bounds; ``but_for`` what was read of these tables."""
    found: list[Grown] = []
    for deed, statements in after.items():
        earlier = by_name(before[deed])
        for name, now in by_name(statements).items():
            then = earlier.get(name, [])
            pages = sum(one.pages(but_for) for one in then), sum(one.pages(but_for) for one in now)
            rows = sum(one.rows(but_for) for one in then), sum(one.rows(but_for) for one in now)
            most_pages = max(MOST_GROWTH * pages[0] + A_FEW_PAGES, PAGES_A_ROW * rows[1])
            if pages[1] > most_pages or rows[1] > MOST_GROWTH * rows[0] + A_FEW_ROWS:
                found.append(Grown(deed, name, pages, rows))
    return found


def not_by_index(run: Run, expected: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Which of the indexes that a query must use it did not; one that was not run used none, not even none."""
    statements = _all_of(run)
    missing: dict[str, set[str]] = {}
    for name, indexes in expected.items():
        used = {index for one in statements.get(name, []) for index in one.indexes}
        lacking = {begin for begin in indexes if not any(index.startswith(begin) for index in used)}
        if lacking or name not in statements:
            missing[name] = lacking or {"was not run"}
    return missing


def looked_over(run: Run, allowed: Collection[str]) -> dict[str, set[str]]:
    """Tables that were read from end to end, by statement; the job engine's own statements choose their own way."""
    found = {
        name: {table for one in statements for table in one.scanned_whole if table not in allowed}
        for name, statements in _all_of(run).items()
        if "cgm_jobs.pgqueuer" not in name
    }
    return {name: tables for name, tables in found.items() if tables}


def _all_of(run: Run) -> dict[str, list[Statement]]:
    return by_name([statement for statements in run.values() for statement in statements])
