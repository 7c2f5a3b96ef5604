"""A snapshot is the shape and nothing else: one shape gives the same bytes, whoever made it and in whatever order."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starts import lay, snapshot_of

from evercgm.storage.schema.bootstrap import bootstrap_standalone
from evercgm.storage.schema.catalog import read_snapshot, snapshot_at
from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.snapshot import FORM, Key, NoSnapshot, Snapshot, canonical, from_json, to_json

PERSON = 'EXISTS ( SELECT 1 FROM public."Person"'


def execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statements.encode())


async def test_two_snapshots_of_one_database_are_the_same_bytes(database: Any) -> None:
    first = to_json(await snapshot_at(database.owner_dsn, "A"))
    second = to_json(await snapshot_at(database.admin_dsn, "B"))

    assert first == second


async def test_owners_and_the_order_of_columns_and_objects_do_not_show(make_empty_database: Any, postgres: Any) -> None:
    one, other = make_empty_database(), make_empty_database()
    for fresh in (one, other):
        await bootstrap_standalone(fresh.owner_dsn)
        await migrate(fresh.owner_dsn)
    execute(
        other.admin_dsn,
        """
        drop index cgm_connections_status_idx;
        create index cgm_connections_status_idx on cgm_connections (status);
        alter table cgm_private.person_settings owner to current_user;
        alter table cgm_connections drop column metadata;
        alter table cgm_connections add column metadata jsonb;
        alter table cgm_connections drop column error_message;
        alter table cgm_connections add column error_message text;
        grant select (error_message) on cgm_connections to authenticated, cgm_request;
        """,
    )

    first, second = await snapshot_of(one.admin_dsn), await snapshot_of(other.admin_dsn)

    assert to_json(first) == to_json(second)
    assert postgres.owner not in to_json(second)


@pytest.mark.parametrize("start", ["staging", "production"])
async def test_no_row_of_the_samples_is_in_a_snapshot(make_empty_database: Any, start: str) -> None:
    fresh = make_empty_database()
    await lay(fresh, start)

    text = to_json(await snapshot_of(fresh.admin_dsn))

    for marked in ("plain-", "enc:", "person-alice", "conn-", "alice@", "eversense", "127.0.0.1", fresh.name):
        assert marked not in text


async def test_a_role_without_rights_sees_the_same_objects_and_says_that_the_history_is_hidden(
    make_empty_database: Any, postgres: Any
) -> None:
    fresh = make_empty_database()
    await bootstrap_standalone(fresh.owner_dsn)
    await migrate(fresh.owner_dsn)
    execute(fresh.admin_dsn, f"grant connect on database {fresh.name} to authenticator")

    mine = await snapshot_of(fresh.owner_dsn)
    async with await psycopg.AsyncConnection.connect(fresh.admin_dsn, autocommit=True) as connection:
        await connection.execute("set session authorization authenticator")
        theirs = await read_snapshot(connection)

    assert theirs.entries == mine.entries
    assert (theirs.history, theirs.history_hidden) == (None, True)


async def test_an_empty_database_has_an_empty_snapshot(make_empty_database: Any) -> None:
    seen = await snapshot_of(make_empty_database().owner_dsn)

    assert (dict(seen.entries), seen.history, seen.history_hidden, seen.owner) == ({}, None, False, "")


TEXTS = st.text(max_size=30)
SNAPSHOTS = st.builds(
    Snapshot,
    st.dictionaries(st.builds(Key, TEXTS, TEXTS), TEXTS, max_size=5),
    st.none() | st.dictionaries(TEXTS, TEXTS, max_size=5),
    st.booleans(),
    TEXTS,
    TEXTS,
)


@settings(deadline=None)
@given(SNAPSHOTS)
def test_what_is_written_is_read_back(one: Snapshot) -> None:
    assert from_json(to_json(one)) == one


@settings(deadline=None)
@given(SNAPSHOTS)
def test_the_order_in_which_objects_were_found_does_not_show(one: Snapshot) -> None:
    backwards = Snapshot(
        dict(reversed(list(one.entries.items()))),
        None if one.history is None else dict(reversed(list(one.history.items()))),
        one.history_hidden,
        one.server_version,
        one.owner,
    )

    assert to_json(backwards) == to_json(one)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "{}",
        json.dumps({"form": "another form 1"}),
        json.dumps({"form": FORM}),
        json.dumps({"form": FORM, "history": [], "history_hidden": False, "objects": [], "owner": ""}),
        json.dumps({"form": FORM, "history": {}, "objects": [{"kind": "table"}], "owner": "", "server_version": ""}),
        json.dumps({"form": FORM, "history": {}, "objects": 5, "owner": "", "server_version": ""}),
    ],
)
def test_a_file_that_is_no_snapshot_is_told_as_such(text: str) -> None:
    with pytest.raises(NoSnapshot):
        from_json(text)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("text  not\n null", "text not null"),
        (f"{PERSON} p WHERE (p.id = x.person_id))", f'{PERSON} WHERE ("Person".id = x.person_id))'),
        (f'{PERSON} WHERE ("Person".id = x.person_id))', f'{PERSON} WHERE ("Person".id = x.person_id))'),
        (
            f"{PERSON} p WHERE p.id = 1) AND {PERSON} q WHERE q.id = p1.id)",
            f'{PERSON} WHERE "Person".id = 1) AND {PERSON} WHERE "Person".id = p1.id)',
        ),
        (f"{PERSON} JOIN public.x ON true)", f"{PERSON} JOIN public.x ON true)"),
    ],
)
def test_a_definition_is_told_without_what_means_nothing(printed: str, expected: str) -> None:
    assert canonical(printed) == expected
