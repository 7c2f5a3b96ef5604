"""The one way back: provider is text again, every row and link is where it was, or nothing is changed."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from by_hand import QUARANTINED, ROLLBACK, VERSIONS, held, rows, run, run_as_one, run_as_psql, speak
from starts import snapshot_of
from verify_worlds import load

from evercgm.storage.schema.migrate import migrate

CONVERSION = VERSIONS[1]
# The staging form with metadata in every state that a conversion must bring back.
METADATA = (
    "alter table public.cgm_connections add column metadata jsonb",
    """update public.cgm_connections set metadata = '{"region": "eu", "deep": {"keep": [1]}}' where id = 'conn-a1'""",
    """update public.cgm_connections set metadata = '{"region": "us"}' where id = 'conn-a3'""",
    "update public.cgm_connections set metadata = '{}' where id = 'conn-k1'",
    "update public.cgm_connections set metadata = 'null' where id in ('conn-k2', 'conn-b3')",
    """update public.cgm_connections set metadata = '{"providerOriginal": "hers", "a": 1}' where id = 'conn-c1'""",
    """update public.cgm_connections set metadata = '["a list"]' where id = 'conn-b2'""",
)

# As a row's JSON, NULL and a null of JSON look the same.
NULLS = "select id from public.cgm_connections where metadata is null order by id"


@pytest.fixture
def staging(make_empty_database: Any, shared_dir: Path) -> Any:
    """The staging form, not migrated."""
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    return fresh


def without_new_column(held_rows: list[Any]) -> list[Any]:
    """The rows without ``metadata``, which stays as a column and must be null."""
    assert all(row.pop("metadata", None) is None for (row,) in held_rows[0])
    return held_rows


async def test_after_the_rollback_every_row_is_what_it_was(staging: Any) -> None:
    before = held(staging.admin_dsn)
    await migrate(staging.admin_dsn, unknown="quarantine")
    assert held(staging.admin_dsn) != before

    run_as_one(staging.admin_dsn, ROLLBACK)

    assert without_new_column(held(staging.admin_dsn)) == before
    assert rows(staging.admin_dsn, QUARANTINED) == []
    recorded = rows(staging.admin_dsn, "select version from supabase_migrations.schema_migrations order by version")
    assert [version for (version,) in recorded] == [one for one in VERSIONS if one != CONVERSION]
    kind = "select format_type(atttypid, atttypmod) from pg_attribute where attname = 'provider' and attrelid = "
    assert rows(staging.admin_dsn, kind + "'cgm_connections'::regclass") == [("text",)]


async def test_after_the_rollback_the_migration_converts_again_with_the_same_result(staging: Any) -> None:
    await migrate(staging.admin_dsn, unknown="quarantine")
    converted = [*held(staging.admin_dsn), rows(staging.admin_dsn, QUARANTINED)]
    run_as_one(staging.admin_dsn, ROLLBACK)

    applied = await migrate(staging.admin_dsn, unknown="quarantine")

    assert [one.version for one in applied] == [CONVERSION]
    assert [*held(staging.admin_dsn), rows(staging.admin_dsn, QUARANTINED)] == converted
    disabled = "select tgname from pg_trigger where tgenabled = 'D'"
    assert rows(staging.admin_dsn, disabled) == []


@pytest.mark.parametrize(
    ("time_zone", "date_style"), [("Europe/Berlin", "German, DMY"), ("Asia/Kathmandu", "SQL, MDY")]
)
async def test_metadata_and_times_come_back_under_any_time_zone_and_date_style(
    staging: Any, time_zone: str, date_style: str
) -> None:
    run(staging.admin_dsn, *METADATA)
    before = [*held(staging.admin_dsn), rows(staging.admin_dsn, NULLS)]
    speak(staging.admin_dsn, staging.name, time_zone, date_style)
    await migrate(staging.admin_dsn, unknown="quarantine")
    speak(staging.admin_dsn, staging.name, "UTC", "ISO, YMD")

    run_as_psql(staging.admin_dsn, ROLLBACK)

    assert [*held(staging.admin_dsn), rows(staging.admin_dsn, NULLS)] == before


async def test_what_is_aside_comes_back_to_its_person_whose_id_has_changed(staging: Any) -> None:
    await migrate(staging.admin_dsn, unknown="quarantine")
    run(
        staging.admin_dsn,
        """update "Person" set id = 'person-robert' where id = 'person-bob'""",
        """insert into "Person" values ('person-bob', 'd0000000-0000-4000-8000-00000000000d')""",
    )

    run_as_one(staging.admin_dsn, ROLLBACK)

    owners = "select id, person_id from cgm_connections where id like 'conn-b%' order by id"
    assert rows(staging.admin_dsn, owners) == [(f"conn-b{n}", "person-robert") for n in (1, 2, 3)]


async def test_keys_that_were_added_to_metadata_since_stay(staging: Any) -> None:
    run(staging.admin_dsn, *METADATA)
    await migrate(staging.admin_dsn, unknown="quarantine")
    run(staging.admin_dsn, """update cgm_connections set metadata = metadata || '{"new": 1}' where id like 'conn-k%'""")

    run_as_one(staging.admin_dsn, ROLLBACK)

    kept = rows(staging.admin_dsn, "select metadata from cgm_connections where id like 'conn-k%' order by id")
    assert kept == [({"new": 1},), ({"new": 1, "metadataOriginal": None},)]


async def test_columns_that_the_host_added_since_are_no_obstacle(staging: Any) -> None:
    await migrate(staging.admin_dsn, unknown="quarantine")
    run(
        staging.admin_dsn,
        "alter table cgm_connections add column note text not null default 'new'",
        "alter table cgm_connections add column label text generated always as (id || '!') stored",
    )

    run_as_one(staging.admin_dsn, ROLLBACK)

    assert rows(staging.admin_dsn, "select note, label from cgm_connections where id = 'conn-b2'") == [
        ("new", "conn-b2!")
    ]


async def test_a_second_rollback_does_nothing(staging: Any) -> None:
    await migrate(staging.admin_dsn, unknown="quarantine")
    run_as_one(staging.admin_dsn, ROLLBACK)
    before = held(staging.admin_dsn)

    said = run_as_psql(staging.admin_dsn, ROLLBACK)

    assert "provider is text already: nothing to take back" in said
    assert held(staging.admin_dsn) == before


REFUSED = {
    "another connection has the id": (
        """insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
           values ('conn-b2', 'person-dora', 'libre', '', '', now())""",
        "would replace others of the same id: conn-b2",
    ),
    "a reading has another link": (
        "update glucose_readings set cgm_connection_id = 'conn-b1' where id = 'r-08'",
        "r-08 of conn-b2 is linked to conn-b1",
    ),
    "a new connection has the old spelling": (
        """delete from cgm_connections where id = 'conn-a1';
           update cgm_private.quarantined_connections set connection = connection || '{"provider": "dexcom"}'
            where id = 'conn-a2';
           insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
           values ('conn-new', 'person-alice', 'dexcom', '', '', now())""",
        "conn-a2 and conn-new of person person-alice",
    ),
    "a reading belongs to another person now": (
        "update glucose_readings set person_id = 'person-dora' where id = 'r-08'",
        "readings of quarantined connections belong to other persons now: r-08 of conn-b2",
    ),
    "a column is gone": (
        "alter table cgm_connections drop column device_id",
        r"no longer has a column for values of quarantined connections: conn-a2 \(device_id\)",
    ),
    "a view uses provider": (
        "create view v as select id from cgm_connections where provider = 'libre'",
        r"cannot become text while these use it: view public\.v",
    ),
    "rows are hidden": (
        "alter table cgm_connections force row level security; alter table cgm_connections owner to {owner};"
        "grant create on schema public to {owner}; alter table glucose_readings owner to {owner};"
        "grant all on schema cgm_private to {owner};"
        "grant execute on all functions in schema cgm_private to {owner};"
        "alter table cgm_private.quarantined_connections owner to {owner}",
        "row-level security hides rows",
    ),
}


async def test_where_nothing_was_converted_there_is_nothing_to_take_back(
    make_empty_database: Any, shared_dir: Path
) -> None:
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/production.sql")
    await migrate(fresh.admin_dsn)
    before = await snapshot_of(fresh.admin_dsn)

    with pytest.raises(psycopg.Error, match="provider was an enum before the migration"):
        run_as_psql(fresh.admin_dsn, ROLLBACK)

    assert await snapshot_of(fresh.admin_dsn) == before


@pytest.mark.parametrize("case", list(REFUSED))
async def test_a_rollback_that_would_lose_something_is_refused(staging: Any, case: str) -> None:
    mutation, message = REFUSED[case]
    await migrate(staging.admin_dsn, unknown="quarantine")
    owner = staging.owner_dsn.split("//")[1].split(":")[0]
    run(staging.admin_dsn, mutation.replace("{owner}", owner))
    before = [*held(staging.admin_dsn), rows(staging.admin_dsn, QUARANTINED)]

    with pytest.raises(psycopg.Error, match=message) as refused:
        run_as_psql(staging.owner_dsn if case == "rows are hidden" else staging.admin_dsn, ROLLBACK)

    assert "plain-" not in str(refused.value)
    assert [*held(staging.admin_dsn), rows(staging.admin_dsn, QUARANTINED)] == before
    assert rows(staging.admin_dsn, "select pg_typeof(provider)::text from cgm_connections limit 1") == [
        ('"CGMProvider"',)
    ]


async def test_no_rollback_while_a_migration_runs(staging: Any) -> None:
    await migrate(staging.admin_dsn, unknown="quarantine")

    with psycopg.connect(staging.admin_dsn) as running:
        running.execute("select pg_advisory_xact_lock(28559150730667885)")
        with pytest.raises(psycopg.Error, match="a migration is running"):
            run_as_one(staging.admin_dsn, ROLLBACK)
