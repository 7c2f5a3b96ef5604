"""The conversion of provider from text to the enum: every row is kept or put aside whole, and every reading stays."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from by_hand import CONNECTIONS, QUARANTINED, rows, run, speak
from verify_worlds import load

from evercgm.storage.schema.migrate import migrate
from evercgm.storage.schema.migration_files import MigrationError, migrations

FIRST, CONVERSION = (migration.text().encode() for migration in migrations()[:2])


@pytest.fixture(scope="module")
def staging_dsn(postgres: Any, shared_dir: Path) -> Iterator[str]:
    """The staging form for tests that take everything back; not migrated."""
    fresh = postgres.create(f"test_conversion_of_staging_{secrets.token_hex(4)}")
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    yield fresh.admin_dsn
    postgres.drop(fresh.name)


@pytest.fixture
def staging(staging_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction in it that is rolled back."""
    connection = psycopg.connect(staging_dsn)
    connection.execute(FIRST)
    yield connection
    connection.rollback()
    connection.close()


def providers(connection: psycopg.Connection[Any]) -> dict[str, tuple[str, Any]]:
    """Id → provider and metadata of the connections."""
    found = connection.execute("select id, provider::text, metadata from public.cgm_connections").fetchall()
    return {id_: (provider, metadata) for id_, provider, metadata in found}


@pytest.mark.parametrize(("time_zone", "date_style"), [("UTC", "ISO, MDY"), ("Europe/Berlin", "German, DMY")])
async def test_nine_connections_of_staging_are_six_kept_and_three_put_aside(
    make_empty_database: Any, shared_dir: Path, time_zone: str, date_style: str
) -> None:
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    before = {row["id"]: row for (row,) in rows(fresh.admin_dsn, CONNECTIONS)}
    speak(fresh.admin_dsn, fresh.name, time_zone, date_style)

    await migrate(fresh.admin_dsn, unknown="quarantine")

    after = {row["id"]: row for (row,) in rows(fresh.admin_dsn, CONNECTIONS)}
    new = {
        "conn-a1": ("dexcom", None),
        "conn-a3": ("libre", {"providerOriginal": "freestyle"}),
        "conn-b1": ("dexcom", None),
        "conn-c1": ("medtronic", {"providerOriginal": "Medtronic"}),
        "conn-k1": ("libre", {"providerOriginal": " LIBRE "}),
        "conn-k2": ("dexcom", {"providerOriginal": "Dexcom G7"}),
    }
    assert after == {
        id_: {**before[id_], "provider": provider, "metadata": metadata} for id_, (provider, metadata) in new.items()
    }
    aside = [row for (row,) in rows(fresh.admin_dsn, QUARANTINED)]
    assert aside == [
        {
            "id": id_,
            "person_id": person_id,
            "connection": {**before[id_], "metadata": None},
            "reading_ids": reading_ids,
            "reason": reason,
            "kept_id": kept_id,
        }
        for id_, person_id, reading_ids, reason, kept_id in (
            ("conn-a2", "person-alice", ["r-04"], "second_spelling", "conn-a1"),
            ("conn-b2", "person-bob", ["r-08"], "unknown_provider", None),
            ("conn-b3", "person-bob", [], "unknown_provider", None),
        )
    ]
    links = dict(
        rows(fresh.admin_dsn, "select id, cgm_connection_id from glucose_readings where id in ('r-04', 'r-08')")
    )
    assert links == {"r-04": "conn-a1", "r-08": None}


async def test_an_unknown_provider_stops_our_runner_and_is_named(make_empty_database: Any, shared_dir: Path) -> None:
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")

    with pytest.raises(MigrationError, match=r"conn-b2 \('eversense'\), conn-b3 \(''\)") as stopped:
        await migrate(fresh.admin_dsn)

    assert "plain-" not in str(stopped.value)
    assert "quarantine" in str(stopped.value)
    assert rows(fresh.admin_dsn, "select count(*) from cgm_connections where provider <> 'x'") == [(9,)]


def test_of_many_unknown_providers_the_first_are_named_and_none_makes_a_line(
    staging: psycopg.Connection[Any],
) -> None:
    staging.execute(
        """
        insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)
        select case n when 1 then E'c-01\x1b[2J\nconn-zz' when 2 then E'c-02\u009b\u2028' else format('c-%s', n) end,
               'person-dora', case n when 10 then E'x\ny' else format('unknown %s', n) end, '', '', now(), now()
          from generate_series(1, 30) as n
        """
    )
    staging.execute("select set_config('cgm.unknown', 'abort', true)")

    with pytest.raises(psycopg.Error) as stopped:
        staging.execute(CONVERSION)

    said = stopped.value.diag.message_primary or ""
    assert said.startswith("no alias names the provider of these connections: ")
    assert said.endswith(" and 12 more")
    assert said.count("('unknown ") == 19
    assert said.isprintable()
    assert r'"c-01\u001b[2J\nconn-zz (' in said


def test_a_choice_that_nobody_knows_is_refused(staging: psycopg.Connection[Any]) -> None:
    staging.execute("set cgm.unknown = 'guess'")

    with pytest.raises(psycopg.Error, match=r"cgm\.unknown is guess, expected abort or quarantine"):
        staging.execute(CONVERSION)


@pytest.mark.parametrize(
    ("spelling", "provider"),
    [
        ("DEXCOM", "dexcom"),
        ("\t Dexcom \n  G6 ", "dexcom"),
        ("Dexcom\u00a0G7", "dexcom"),
        ("dexcom one+", "dexcom"),
        ("FreeStyle Libre 3", "libre"),
        ("LIBRE2", "libre"),
        ("Abbott", "abbott"),
        ("MiniMed", "medtronic"),
        ("CareLink", "medtronic"),
        ("dexcom g99", None),
        ("libre?", None),
        ("dеxcom", None),
    ],
)
def test_a_spelling_becomes_its_provider_or_is_put_aside(
    staging: psycopg.Connection[Any], spelling: str, provider: str | None
) -> None:
    staging.execute("update public.cgm_connections set provider = %s where id = 'conn-c1'", [spelling])

    staging.execute(CONVERSION)

    found = providers(staging).get("conn-c1")
    assert found == (None if provider is None else (provider, {"providerOriginal": spelling}))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("status = 'connected', last_sync_at = null", "conn-a2"),
        ("status = 'error', last_sync_at = '2030-01-01'", "conn-a2"),
        ("status = 'error', last_sync_at = null", "conn-a1"),
        ("status = 'error', last_sync_at = '2025-10-16 11:25:00', updated_at = '2030-01-01'", "conn-a2"),
        ("status = 'error', last_sync_at = '2025-10-16 11:25:00', updated_at = '2025-10-16 11:25:00'", "conn-a1"),
    ],
)
def test_of_two_spellings_the_one_that_works_is_kept(staging: psycopg.Connection[Any], change: str, kept: str) -> None:
    staging.execute("update public.cgm_connections set status = 'error' where id = 'conn-a1'")
    staging.execute(f"update public.cgm_connections set {change} where id = 'conn-a2'".encode())

    staging.execute(CONVERSION)

    assert [id_ for id_ in providers(staging) if id_ in ("conn-a1", "conn-a2")] == [kept]
    links = staging.execute("select distinct cgm_connection_id from glucose_readings where id <= 'r-04'").fetchall()
    assert links == [(kept,)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("null", {"metadataOriginal": None}),
        ("{}", {"metadataOriginal": {}}),
        ('["a"]', {"metadataOriginal": ["a"]}),
        ('{"region": "eu"}', {"region": "eu"}),
        ('{"b": 2, "providerOriginal": 1}', {"metadataOriginal": {"providerOriginal": 1, "b": 2}}),
    ],
)
def test_metadata_of_a_changed_spelling_is_kept(staging: psycopg.Connection[Any], before: str, after: Any) -> None:
    staging.execute("alter table public.cgm_connections add column metadata jsonb")
    staging.execute("update public.cgm_connections set metadata = %s", [before])

    staging.execute(CONVERSION)

    assert providers(staging)["conn-k1"][1] == {"providerOriginal": " LIBRE ", **after}
    assert staging.execute("select metadata::text from cgm_connections where id = 'conn-a1'").fetchone() == (before,)


NOTHING = "create function f() returns trigger language plpgsql as $$ begin return new; end $$; create trigger t "
BLOCKERS = {
    "a view": ("create view v as select id from cgm_connections where provider <> ''", "view v"),
    "a materialized view": (
        "create materialized view m as select provider from cgm_connections",
        "materialized view m",
    ),
    "a rule": (
        "create rule r as on update to cgm_connections where new.provider = '' do instead nothing",
        "a rule on table cgm_connections",
    ),
    "a policy": (
        "create policy p on cgm_connections using (provider <> 'x')",
        "policy p on table cgm_connections",
    ),
    "a policy elsewhere": (
        'create policy p on "Person" using (exists (select from cgm_connections where provider = id))',
        'policy p on table "Person"',
    ),
    "a trigger with a column list": (
        NOTHING + "before update of provider on cgm_connections for each row execute function f()",
        "trigger t on table cgm_connections",
    ),
    "a trigger with a condition": (
        NOTHING + "before update on cgm_connections for each row when (new.provider = '') execute function f()",
        "trigger t on table cgm_connections",
    ),
    "a check": (
        "alter table cgm_connections add constraint k check (length(provider) < 99)",
        "constraint k on table cgm_connections",
    ),
    "a generated column": (
        "alter table cgm_connections add column g text generated always as (upper(provider)) stored",
        "generated column g of table cgm_connections",
    ),
    "a function with an SQL body": (
        "create function f() returns text begin atomic select min(provider) from cgm_connections; end",
        "function f()",
    ),
    "an index on an expression": ("create index i on cgm_connections (lower(provider))", "index i"),
    "an index with a condition": ("create index i on cgm_connections (id) where provider = 'libre'", "index i"),
    "a reference": (
        "create table p (name text primary key); insert into p select distinct provider from cgm_connections;"
        "alter table cgm_connections add constraint r foreign key (provider) references p",
        "constraint r on table cgm_connections",
    ),
    "a publication": (
        "create publication a for table cgm_connections (id, person_id, provider) where (provider <> '')",
        "publication",
    ),
    "a column of whole rows": ("create table w (c cgm_connections)", "column c of table w, which holds whole rows"),
    "a child table": ("create table w () inherits (cgm_connections)", "table w, which inherits"),
}


@pytest.mark.parametrize("case", list(BLOCKERS))
def test_what_uses_provider_is_named_before_anything_changes(staging: psycopg.Connection[Any], case: str) -> None:
    statement, name = BLOCKERS[case]
    staging.execute(statement.encode())

    with pytest.raises(psycopg.errors.FeatureNotSupported, match="provider cannot become an enum while") as stopped:
        staging.execute(CONVERSION)

    assert name in str(stopped.value).replace("public.", "")


def test_what_can_be_made_again_by_itself_is_no_obstacle(staging: psycopg.Connection[Any]) -> None:
    for statement in (
        "create index mine on cgm_connections (provider, status)",
        "create statistics s on provider, status from cgm_connections",
        "drop index cgm_connections_person_id_provider_key",
        "alter table cgm_connections"
        " add constraint cgm_connections_person_id_provider_key unique (person_id, provider)",
        "create view v as select id, status from cgm_connections",
        "alter table cgm_connections add note text default 'x', add sum int generated always as (1) stored",
        NOTHING + "before update on cgm_connections for each row execute function f()",
    ):
        staging.execute(statement.encode())

    staging.execute(CONVERSION)

    assert len(providers(staging)) == 6


def test_triggers_of_the_host_sleep_through_the_conversion_and_wake_as_they_were(
    staging: psycopg.Connection[Any],
) -> None:
    staging.execute("create function f() returns trigger language plpgsql as $$ begin raise 'woken'; end $$")
    for name, state in (("a", ""), ("b", "enable always"), ("c", "enable replica"), ("d", "disable")):
        for table in ("cgm_connections", "glucose_readings"):
            staging.execute(
                f"create trigger {name} before update or delete on {table} for each row execute function f()".encode()
            )
            if state:
                staging.execute(f"alter table {table} {state} trigger {name}".encode())

    staging.execute(CONVERSION)

    states = staging.execute(
        "select distinct tgname, tgenabled::text from pg_trigger where not tgisinternal"
    ).fetchall()
    assert sorted(states) == [("a", "O"), ("b", "A"), ("c", "R"), ("d", "D")]


@pytest.mark.parametrize("action", ["cascade", "set null", "no action"])
def test_rows_of_other_tables_are_not_lost_with_a_connection_that_is_put_aside(
    staging: psycopg.Connection[Any], action: str
) -> None:
    staging.execute(
        f"create table alerts (connection text references cgm_connections on delete {action}, n int)".encode()
    )
    staging.execute("insert into alerts values ('conn-a1', 1)")
    staging.execute("savepoint nothing_aside")
    staging.execute(CONVERSION)
    staging.execute("rollback to nothing_aside")
    staging.execute("insert into alerts values ('conn-a2', 2)")

    with pytest.raises(psycopg.Error, match="table alerts has rows of connections that would be put aside: conn-a2"):
        staging.execute(CONVERSION)


def test_an_id_that_is_in_quarantine_already_is_named(staging: psycopg.Connection[Any]) -> None:
    staging.execute(CONVERSION)
    staging.execute("alter table public.cgm_connections alter column provider type text")
    staging.execute(
        "insert into cgm_connections"
        " (id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at)"
        " values ('conn-b2', 'person-bob', 'eversense', '', '', now(), now())"
    )

    with pytest.raises(psycopg.Error, match="other connections of these ids are in quarantine: conn-b2"):
        staging.execute(CONVERSION)


async def test_rows_that_row_level_security_hides_are_not_lost(make_empty_database: Any, shared_dir: Path) -> None:
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / "database/staging.sql")
    owner = fresh.owner_dsn.split("//")[1].split(":")[0]
    run(
        fresh.admin_dsn,
        *(f"alter table {name} owner to {owner}" for name in ('"Person"', "cgm_connections", "glucose_readings")),
        f"grant all on schema public to {owner}",
        "alter table cgm_connections force row level security",
    )

    with (
        psycopg.connect(fresh.owner_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security hides rows from role"),
    ):
        connection.execute(CONVERSION)


def test_a_count_that_does_not_come_out_stops_the_conversion(staging: psycopg.Connection[Any]) -> None:
    staging.execute(CONVERSION)
    staging.execute("alter table public.cgm_connections alter column provider type text")
    row = "id, person_id, provider, access_token, refresh_token, token_expires_at, updated_at"
    staging.execute(
        f"""create function meddle() returns trigger language plpgsql
            as $$ begin
              insert into public.cgm_connections ({row}) values ('made', 'person-bob', 'abbott', '', '', now(), now());
              return new;
            end $$"""
    )
    staging.execute(
        "create trigger meddling after insert on cgm_private.quarantined_connections"
        " for each row execute function meddle()"
    )
    staging.execute(
        f"insert into cgm_connections ({row}) values ('odd', 'person-bob', 'sugarmate', '', '', now(), now())"
    )

    with pytest.raises(psycopg.Error, match="connections before 7 are not kept 7 and quarantined 1"):
        staging.execute(CONVERSION)
