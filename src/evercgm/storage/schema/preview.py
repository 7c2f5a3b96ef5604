"""What the next migrations will meet in the rows and in the host app's objects, found by reading alone.

The conversion of ``provider`` is written once, in its migration file; its parts are taken from there, so that the
preview cannot say anything else than the migration does.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from evercgm.storage.database import load_queries
from evercgm.storage.schema.migration_files import Migration, MigrationError, migrations
from evercgm.storage.schema.plan import Step
from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.target import Entries

Unknown = Literal["abort", "quarantine"]
QUERIES = load_queries("schema/preview.sql")
CONVERSION = "20261124000001"
_PROVIDER = Key("column", "public.cgm_connections.provider")
_TEXT = "text not null"
# What the host app must have made before the first migration.
_FOUNDATION = (
    Key("table", 'public."Person"'),
    Key("table", "public.glucose_readings"),
    Key("function", "auth.uid()"),
)
_ALIASES = re.compile(r"insert into cgm_private\.provider_aliases .*?values(.*?)on conflict", re.DOTALL)
_ALIAS = re.compile(r"\('([^']*)', '(\w+)'\)")
_OWN_ALIASES = "select alias, provider from cgm_private.provider_aliases"
_NO_ALIASES = "select ''::text as alias, ''::text as provider where false"
_CHOICE = re.compile(r"create temporary table cgm_conversion on commit drop as(.*?);", re.DOTALL)
_USERS = re.compile(r"function cgm_private\.users_of_provider\(\).*?as \$\$(.*?)\$\$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One spelling of provider: what it becomes (None: no alias names it), and how many connections have it.

    ``second``: connections of these whose person has a better one of the same provider; they are put aside, and their
    ``readings`` move to the one that is kept. For an unknown provider ``readings`` are those that lose their link.
    """

    text: str
    becomes: str | None
    connections: int
    second: int
    readings: int


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why the migration ``version`` would stop, in words."""

    version: str
    words: str


async def look_ahead(
    connection: AsyncConnection[Any], entries: Entries, steps: Sequence[Step], unknown: Unknown
) -> tuple[tuple[Spelling, ...], tuple[Obstacle, ...]]:
    """What ``steps`` will meet: the spellings that they convert, and why they would stop."""
    obstacles = list(foundation_obstacles(entries, steps))
    if entries.get(_PROVIDER) != _TEXT:
        return (), tuple(obstacles)
    conversion = next(migration for migration in migrations() if migration.version == CONVERSION)
    spellings = await read_spellings(connection, conversion)
    users = await read_users_of_provider(connection, conversion)
    if users is not None:
        words = f"provider cannot become an enum while these use it: {users}. Drop them, migrate, create them again"
        obstacles.append(Obstacle(CONVERSION, words))
    strangers = sum(one.connections for one in spellings if one.becomes is None)
    if strangers and unknown == "abort":
        words = f"no alias names the provider of {strangers} connections. Correct it, or choose --unknown=quarantine"
        obstacles.append(Obstacle(CONVERSION, words))
    return spellings, tuple(obstacles)


def foundation_obstacles(entries: Entries, steps: Sequence[Step]) -> Iterator[Obstacle]:
    """What the host app should have made before the first of ``steps`` that has something to do, and has not."""
    missing = [str(key) for key in _FOUNDATION if key not in entries]
    first = next((step for step in steps if step.action != "nothing"), None)
    if missing and first is not None:
        yield Obstacle(
            first.version,
            f"missing: {', '.join(missing)}. The host app makes them; on an empty PostgreSQL of your own: "
            "evercgm db bootstrap --standalone",
        )


async def count_aside(connection: AsyncConnection[Any]) -> int:
    """How many connections are in quarantine."""
    cursor = connection.cursor(row_factory=dict_row)
    if not await _is_there(connection, "cgm_private.quarantined_connections"):
        return 0
    row = await (await cursor.execute(QUERIES["aside"].encode())).fetchone()
    return int(row["connections"]) if row else 0


async def read_users_of_provider(connection: AsyncConnection[Any], conversion: Migration) -> str | None:
    """The objects of the host app that block another type of provider, named; None where nothing does."""
    row = await (await connection.execute(_part(_USERS, conversion).encode())).fetchone()
    return row[0] if row else None


async def read_spellings(connection: AsyncConnection[Any], conversion: Migration) -> tuple[Spelling, ...]:
    """Every spelling of provider, while it is text. Rows are read, tokens are not."""
    cursor = connection.cursor(row_factory=dict_row)
    own = _OWN_ALIASES if await _is_there(connection, "cgm_private.provider_aliases") else _NO_ALIASES
    choice = _part(_CHOICE, conversion).replace("cgm_private.provider_aliases", "aliases").replace("%", "%%")
    query = QUERIES["spellings"].replace("{own}", own).replace("{conversion}", choice)
    pairs = _ALIAS.findall(_part(_ALIASES, conversion))
    await cursor.execute(query.encode(), [[alias for alias, _ in pairs], [provider for _, provider in pairs]])
    return tuple(
        Spelling(row["original"], row["provider"], int(row["connections"]), int(row["second"]), int(row["readings"]))
        for row in await cursor.fetchall()
    )


async def _is_there(connection: AsyncConnection[Any], table: str) -> bool:
    row = await (await connection.execute("select to_regclass(%s) is not null", [table])).fetchone()
    return bool(row and row[0])


def _part(pattern: re.Pattern[str], migration: Migration) -> str:
    found = pattern.search(migration.text())
    if found is None:
        raise MigrationError(f"{migration.path.name} is not in the form that this version of evercgm knows")
    return found.group(1)
