"""The files by themselves: what each expects to find is what the target says, and each runs under any runner.

After a change of a migration: UPDATE_TARGET=1 for test_target.py first, then for this file; then read the diff.
"""

import os
import re
import textwrap
from collections.abc import Iterator

import pytest

from evercgm.storage.schema.migration_files import Migration, migrations
from evercgm.storage.schema.snapshot import Key
from evercgm.storage.schema.target import target

BLOCK = re.compile(r"(?<=-- expected\n).*?(?= *-- end of expected\n)", re.DOTALL)
INDENT = " " * 6
# Files that compare each object by a row of its own: kinds. The others, and these schemas: a row a table.
SINGLY = {
    "20251016000001": ("enum", "column", "constraint", "index", "policy"),
    "20261124000001": ("enum", "column", "index"),
    "20261124000002": (),
    "20261124000003": ("function", "trigger", "policy"),
    "20261124000004": ("enum", "function", "trigger"),
}
# Functions that this very file makes anew.
OWN_TOOLS = ("cgm_private.other_form", "cgm_private.users_of_provider")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def split(key: Key) -> tuple[str, str]:
    """The table and the name on it, as the rows have them."""
    if key.kind in ("policy", "trigger"):
        table, _, name = key.name.partition(" ")
        return table, name
    if key.kind in ("column", "constraint", "index"):
        table, _, name = key.name.rpartition(".")
        return table, name
    return "", key.name


def expected_rows(version: str) -> str:
    """What stands between the two marks of a file."""
    entries = target()[version]
    singly = {key for key in entries if key.kind in SINGLY[version] and _is_single(version, key)}
    rows = [
        f"({quoted(key.kind)}, {quoted(split(key)[0])}, {quoted(split(key)[1])}, {quoted(entries[key])})"
        for key in sorted(singly)
        if not key.name.startswith(OWN_TOOLS)
    ]
    tables = sorted(key.name for key in entries if key.kind == "table" and "table" in entries[key])
    if version not in ("20251016000001", "20261124000003"):
        with_kind = version != "20261124000002"
        rows += [_table_row(table, list(_parts(version, table)), with_kind=with_kind) for table in tables]
    last = "," if version == "20251016000001" else ""
    return INDENT + f",\n{INDENT}".join(rows) + f"{last}\n"


def _is_single(version: str, key: Key) -> bool:
    return version != "20261124000001" or not key.name.startswith("cgm_private.")


def _parts(version: str, table: str) -> Iterator[str]:
    """Columns, keys and checks, indexes of a table, as other_form prints them."""
    for kind in ("column", "constraint", "index"):
        for key, text in sorted(target()[version].items()):
            if key.kind == kind and split(key)[0] == table:
                yield text.removesuffix(" (by a constraint)") if kind == "index" else f"{split(key)[1]} {text}"


def _table_row(table: str, parts: list[str], *, with_kind: bool) -> str:
    lines = textwrap.wrap(
        quoted("; ".join(parts)),
        width=118 - len(INDENT),
        initial_indent=" ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    body = f"\n{INDENT}".join(lines)
    head = f"('table', {quoted(table)}, ''," if with_kind else f"({quoted(table)},"
    return f"{head}\n{INDENT}{body})"


@pytest.mark.parametrize("migration", migrations(), ids=lambda one: one.name)
def test_what_a_file_expects_to_find_is_what_the_target_says(migration: Migration) -> None:
    text = migration.text()
    if os.environ.get("UPDATE_TARGET"):
        text = BLOCK.sub(lambda _: expected_rows(migration.version), text, count=1)
        migration.path.write_text(text, encoding="utf-8")

    found = BLOCK.search(text)

    assert found is not None
    assert found.group() == expected_rows(migration.version)


@pytest.mark.parametrize("migration", migrations(), ids=lambda one: one.name)
def test_a_file_needs_no_transaction_around_it(migration: Migration) -> None:
    """psql and the Supabase CLI run statement by statement: a bare LOCK TABLE would be refused there."""
    outside_of_blocks = re.sub(r"(\$\w*\$).*?\1", "", migration.text(), flags=re.DOTALL)

    assert not re.search(r"(?im)^\s*(lock|begin|commit|savepoint|rollback)\b", outside_of_blocks)
