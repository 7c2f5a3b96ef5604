"""Makes what is missing of a recorded migration again; stops before anything that is there in another form.

Its file is run once more: the files are written for that. What they leave to people, the parts of a table that is
there, is made before it in the words of the target.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from evercgm.storage.schema.catalog import read_snapshot
from evercgm.storage.schema.mending import mend_of
from evercgm.storage.schema.migrate import SETTING, Report, take_lock
from evercgm.storage.schema.migration_files import Migration, MigrationError, migrations
from evercgm.storage.schema.plan import Step, step_of
from evercgm.storage.schema.preview import Unknown
from evercgm.storage.schema.reach import reached_to_migrate, refusal
from evercgm.storage.schema.snapshot import Key, Snapshot
from evercgm.storage.schema.target import Entries, target
from evercgm.storage.schema.told import as_line

_UNIQUE = " (by a constraint)"
_NAMED = re.compile(r"(REFERENCES|EXECUTE FUNCTION) ([^(]+)\(")
_IDENTITY = " identity"  # the target does not say of which kind: left to the file, which stops at it
# Columns first, then what stands on them; references last, as they stand on the keys of others.
_ORDER = ("column", "index", "constraint", "trigger")


@dataclass(frozen=True, slots=True)
class Repaired:
    """``made``: what was missing, or in an earlier form. ``left``: other recorded migrations that are not whole."""

    version: str
    name: str
    made: tuple[str, ...]
    left: tuple[Step, ...]


async def repair(
    dsn: str,
    version: str,
    *,
    unknown: Unknown = "abort",
    compat: bool = False,
    report: Report = lambda _: None,
    setting: str = SETTING,
) -> Repaired:
    """Make what is missing of the migration ``version`` again, all or nothing, as the role of ``dsn``.

    The grants that its file sets are set again: ``compat`` and ``unknown`` mean what they mean to ``migrate``. Raises
    MigrationError where the version is not recorded, something is there in another form, or the database refuses;
    SettingsError as ``migrate`` does.
    """
    migration = next(one for one in migrations() if one.version == version)
    async with reached_to_migrate(dsn, setting) as connection, connection.transaction():
        await take_lock(connection, report)
        before = await read_snapshot(connection)
        step = _step(migration, before)
        _refuse(step)
        if step.missing:
            try:
                await _make(connection, migration, step, before.entries, unknown, compat)
            except psycopg.Error as error:
                raise MigrationError(f"{_named(step)}: {refusal(error)}. Nothing was changed") from error
        after = await read_snapshot(connection)
        if _step(migration, after).action != "nothing":
            raise MigrationError(f"{_named(step)} is still not whole: {_told(_step(migration, after))}. {_NOTHING}")
    left = (_step(one, after) for one in migrations() if one.version != version)
    return Repaired(version, migration.name, tuple(step.reasons()), tuple(one for one in left if _is_drift(one)))


def _step(migration: Migration, snapshot: Snapshot) -> Step:
    return step_of(migration.version, migration.name, snapshot.entries, snapshot.history or {})


def _is_drift(step: Step) -> bool:
    return step.recorded and step.action == "stop"


def _refuse(step: Step) -> None:
    """Only what is recorded is repaired, and only where nothing is in another form."""
    if not step.recorded:
        raise MigrationError(f"{_named(step)} is not recorded: evercgm db migrate applies it")
    if step.wrong:
        found = as_line("; ".join(str(wrong) for wrong in step.wrong))
        raise MigrationError(f"{_named(step)}: {found}. {_NOTHING}: {mend_of(step)}")


_NOTHING = "Nothing was changed"


def _named(step: Step) -> str:
    return f"{step.version}_{step.name}"


def _told(step: Step) -> str:
    return as_line("; ".join(step.reasons()))


async def _make(
    connection: AsyncConnection[Any],
    migration: Migration,
    step: Step,
    entries: Entries,
    unknown: Unknown,
    compat: bool,
) -> None:
    await connection.execute(
        "select set_config('cgm.unknown', %s, true), set_config('cgm.compat', %s, true)",
        [unknown, "on" if compat else "off"],
    )
    for statement in parts_of(step, entries):
        await connection.execute(statement.encode())
    await connection.execute(migration.text().encode())


def parts_of(step: Step, entries: Entries) -> Iterator[str]:
    """The statements that make what is missing of tables that are there. A column comes back empty."""
    absent = [
        key for key in step.absent() if key.kind in _ORDER and _can_stand(key, target()[step.version][key], entries)
    ]
    for key in sorted(absent, key=lambda key: (_ORDER.index(key.kind), key.name.endswith("_fkey"), key)):
        definition, table, name = target()[step.version][key], _table_of(key), key.name.rpartition(".")[2]
        if key.kind == "constraint":
            yield f"alter table {table} add constraint {name} {definition}"
        elif key.kind == "column":
            if not definition.endswith(_IDENTITY):
                yield f"alter table {table} add column {name} {definition}"
        else:
            yield definition.removesuffix(_UNIQUE)
            if definition.endswith(_UNIQUE):
                yield f"alter table {table} add constraint {name} unique using index {name}"


def _can_stand(key: Key, definition: str, entries: Entries) -> bool:
    """Whether the table is there, and the other table or the function that the part names; else its file makes it."""
    named = _NAMED.search(definition)
    other = named and (Key("table", named.group(2)) if named.group(1) == "REFERENCES" else _function(named.group(2)))
    return Key("table", _table_of(key)) in entries and (other is None or other in entries)


def _function(name: str) -> Key:
    return Key("function", f"{name}()")


def _table_of(key: Key) -> str:
    return key.name.partition(" ")[0] if key.kind == "trigger" else key.name.rpartition(".")[0]
