"""Who sees and changes what, tried as owner, stranger and nobody, with the host's row-level security on and off."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors

ALICE = str(UUID(int=10))
BOB = str(UUID(int=11))
PER_PERSON = [
    "public.cgm_connections",
    "cgm_private.sync_state",
    "cgm_private.sync_runs",
    "cgm_private.reading_details",
    "cgm_private.rejected_records",
    "cgm_private.person_settings",
    "cgm_private.audit_events",
]
SERVICE_ONLY = [
    "oauth_attempts",
    "routes",
    "sessions",
    "sign_in_links",
    "signing_keys",
    "quarantined_connections",
    "provider_aliases",
    "vendor_budgets",
    "provider_pauses",
    "erased_persons",
]
ROWS = """
insert into public."Person" (id, "ownerId") values ('p-alice', '{alice}'), ('p-bob', '{bob}');
insert into public.cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
select 'c-' || n, 'p-' || n, 'dexcom', 'sealed', 'sealed', '9999-12-31' from unnest(array['alice', 'bob']) n;
insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
select 'r-' || n, 'p-' || n, '2026-01-01', 100, 'cgm', 'c-' || n from unnest(array['alice', 'bob']) n;
insert into cgm_private.sync_state (connection_id, person_id, provider, region)
select 'c-' || n, 'p-' || n, 'dexcom', 'us' from unnest(array['alice', 'bob']) n;
insert into cgm_private.sync_runs (id, connection_id, person_id, trigger)
select 's-' || n, 'c-' || n, 'p-' || n, 'person' from unnest(array['alice', 'bob']) n;
insert into cgm_private.reading_details (reading_id, person_id, stream, record_key)
select 'r-' || n, 'p-' || n, 'dexcom/api/x', '1' from unnest(array['alice', 'bob']) n;
insert into cgm_private.rejected_records (connection_id, person_id, stream, record_key, reason)
select 'c-' || n, 'p-' || n, 'dexcom/api/x', '2', 'no value' from unnest(array['alice', 'bob']) n;
insert into cgm_private.person_settings (person_id) select 'p-' || n from unnest(array['alice', 'bob']) n;
insert into cgm_private.audit_events (actor, person_id, action)
select 'service', 'p-' || n, 'connected' from unnest(array['alice', 'bob']) n;
"""


@pytest.fixture(scope="module", params=[True, False], ids=["host-rls-on", "host-rls-off"])
def filled(request, postgres, template_of):
    """A database with one row of Alice and one of Bob in every table that people may see; never changed."""
    fresh = postgres.create(f"test_{secrets.token_hex(6)}", template_of(request.param))
    fill(fresh)
    yield fresh
    postgres.drop(fresh.name)


@pytest.fixture(params=[True, False], ids=["host-rls-on", "host-rls-off"])
def changeable(request, make_database):
    """The same, for one test alone."""
    fresh = make_database(host_rls=request.param)
    fill(fresh)
    return fresh


def fill(database: Any) -> None:
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(ROWS.format(alice=ALICE, bob=BOB).encode())


@contextmanager
def acting(database: Any, role: str, owner: str | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the service's login role as another role, with a person's claims or none; rolled back."""
    claims = json.dumps({"sub": owner, "role": "authenticated"}) if owner else ""
    dsn = database.service_dsn if role.startswith("cgm_") else database.admin_dsn
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)", [claims, role]
        )
        yield connection
        connection.rollback()


def values(database: Any, query: str) -> list[Any]:
    with psycopg.connect(database.admin_dsn) as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


def test_every_table_of_ours_has_row_level_security_and_none_is_forced(database):
    query = """
      select c.oid::regclass::text
        from pg_class c
       where c.relkind in ('r', 'p')
         and (c.relnamespace = 'cgm_private'::regnamespace or c.oid = 'public.cgm_connections'::regclass)
         and (not c.relrowsecurity or c.relforcerowsecurity)
    """
    assert values(database, query) == []


def test_every_foreign_key_of_ours_has_an_index(database):
    query = """
      select c.conrelid::regclass::text || '.' || c.conname
        from pg_constraint c
       where c.contype = 'f'
         and (c.connamespace = 'cgm_private'::regnamespace or c.conrelid = 'public.cgm_connections'::regclass)
         and not exists (
           select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1] and i.indpred is null)
    """
    assert values(database, query) == []


def test_every_table_of_ours_is_spoken_of_in_this_file(database):
    query = """
      select relname::text from pg_class
       where relkind = 'r' and relnamespace = 'cgm_private'::regnamespace
    """
    spoken = {name.removeprefix("cgm_private.") for name in PER_PERSON} | set(SERVICE_ONLY)

    assert spoken - {"public.cgm_connections"} == set(values(database, query))


@pytest.mark.parametrize("table", PER_PERSON)
def test_an_owner_sees_their_rows_a_stranger_theirs_and_nobody_none(filled, table):
    seen = {}
    for who, owner in {"alice": ALICE, "bob": BOB, "stranger": str(UUID(int=12)), "nobody": None}.items():
        with acting(filled, "cgm_request", owner) as connection:
            rows = connection.execute(f"select person_id from {table}".encode()).fetchall()
            seen[who] = [row[0] for row in rows]

    assert seen == {"alice": ["p-alice"], "bob": ["p-bob"], "stranger": [], "nobody": []}


@pytest.mark.parametrize("table", PER_PERSON)
@pytest.mark.parametrize("verb", ["update {0} set person_id = person_id", "insert into {0} default values"])
def test_a_person_writes_nothing_themselves(filled, table, verb):
    with acting(filled, "cgm_request", ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(verb.format(table).encode())


@pytest.mark.parametrize("table", SERVICE_ONLY)
def test_tables_of_the_service_are_closed_to_persons(filled, table):
    with acting(filled, "cgm_request", ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"select 1 from cgm_private.{table}".encode())


@pytest.mark.parametrize("role", ["cgm_request", "authenticated", "anon"])
@pytest.mark.parametrize("column", ["access_token", "refresh_token", "metadata", "sync_cursor"])
def test_no_person_reads_a_token(filled, role, column):
    with acting(filled, role, ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"select {column} from public.cgm_connections".encode())


def test_no_person_reads_the_previous_refresh_token(filled):
    with acting(filled, "cgm_request", ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select previous_refresh_token from cgm_private.sync_state")


@pytest.mark.parametrize("role", ["authenticated", "anon"])
@pytest.mark.parametrize("table", ["cgm_private.sync_runs", "cgm_private.sessions", "cgm_jobs.pgqueuer"])
def test_the_api_roles_get_nothing_in_our_schemas(filled, role, table):
    with acting(filled, role, ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(f"select 1 from {table}".encode())


def test_the_job_engine_is_the_worker_s_alone(filled):
    with acting(filled, "cgm_request", ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select 1 from cgm_jobs.pgqueuer")

    with acting(filled, "cgm_worker") as connection:
        connection.execute("insert into cgm_jobs.pgqueuer (priority, status, entrypoint) values (0, 'queued', 'sync')")
        assert connection.execute("select count(*) from cgm_jobs.pgqueuer").fetchall() == [(1,)]


def test_deleting_a_stranger_s_connection_changes_no_row(filled):
    with acting(filled, "cgm_request", BOB) as connection:
        strangers = connection.execute("delete from public.cgm_connections where id = 'c-alice'").rowcount
        own = connection.execute("delete from public.cgm_connections where id = 'c-bob'").rowcount

    assert (strangers, own) == (0, 1)


def test_anonymous_callers_see_no_connection(filled):
    with acting(filled, "anon", ALICE) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("select id from public.cgm_connections")


def test_an_app_user_sees_own_connections_through_the_host_s_api(make_database):
    fresh = make_database(host_rls=True)
    fill(fresh)

    with acting(fresh, "authenticated", ALICE) as connection:
        assert connection.execute("select id from public.cgm_connections").fetchall() == [("c-alice",)]


def test_the_worker_keeps_everything_but_events_which_it_only_adds(filled):
    with acting(filled, "cgm_worker") as connection:
        for table in [*PER_PERSON, "public.glucose_readings", 'public."Person"']:
            assert connection.execute(f"select count(*) from {table}".encode()).fetchone() == (2,)
        connection.execute("insert into cgm_private.audit_events (actor, action) values ('service', 'tried')")
        updated = connection.execute("update public.cgm_connections set access_token = 'other'").rowcount

    assert updated == 2
    for statement in ("update cgm_private.audit_events set actor = 'x'", "delete from cgm_private.audit_events"):
        with acting(filled, "cgm_worker") as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_login_role_sees_nothing_before_it_becomes_somebody(filled):
    for table in ("public.cgm_connections", "cgm_private.sync_state", "cgm_jobs.pgqueuer"):
        with psycopg.connect(filled.service_dsn) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(f"select 1 from {table}".encode())


@pytest.mark.parametrize("role", ["service_role", "test_owner", "postgres"])
def test_the_login_role_cannot_become_one_that_passes_security(database, role):
    name = database.owner_dsn.split("//")[1].split(":")[0] if role == "test_owner" else role
    refused = (errors.InsufficientPrivilege, errors.InvalidParameterValue)
    with psycopg.connect(database.service_dsn) as connection, pytest.raises(refused):
        connection.execute("select set_config('role', %s, true)", [name])


@pytest.mark.parametrize("connection_id", ["c-bob", "c-missing"])
def test_a_reading_of_a_foreign_or_a_missing_connection_gives_one_and_the_same_error(filled, connection_id):
    statement = """
      insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
      values ('r-new', 'p-alice', '2026-01-02', 100, 'cgm', %s)
    """
    with acting(filled, "cgm_worker") as connection, pytest.raises(errors.CheckViolation) as refused:
        connection.execute(statement, [connection_id])

    assert refused.value.diag.constraint_name == "glucose_readings_own_connection"
    assert connection_id not in str(refused.value)


MANY_READINGS = {
    "added": """
      insert into public.glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
      select 'r-' || n, 'p-alice', '2026-01-02', 100, 'cgm', case n when 3 then %s when 4 then null else 'c-alice' end
        from generate_series(1, 5) n
    """,
    "linked": "update public.glucose_readings set cgm_connection_id = %s where person_id = 'p-alice'",
}


@pytest.mark.parametrize("how", MANY_READINGS)
@pytest.mark.parametrize("connection_id", ["c-bob", "c-missing"])
@pytest.mark.parametrize("role", ["cgm_worker", "service_role"])
def test_one_bad_connection_among_many_readings_gives_the_same_error(make_database, role, connection_id, how):
    fresh = make_database(host_rls=True)
    fill(fresh)
    with psycopg.connect(fresh.owner_dsn) as connection:
        connection.execute(MANY_READINGS["added"].replace("'r-'", "'r-first-'").encode(), ["c-alice"])

    with acting(fresh, role) as connection, pytest.raises(errors.CheckViolation) as refused:
        connection.execute(MANY_READINGS[how].encode(), [connection_id])

    assert refused.value.diag.constraint_name == "glucose_readings_own_connection"
    assert connection_id not in str(refused.value)


def test_a_person_s_new_id_reaches_connections_and_readings(changeable):
    with psycopg.connect(changeable.owner_dsn) as connection:
        connection.execute("update public.\"Person\" set id = 'p-renamed' where id = 'p-alice'")

    linked = """
      select r.person_id || ' ' || c.person_id
        from public.glucose_readings r join public.cgm_connections c on c.id = r.cgm_connection_id
       where r.id = 'r-alice'
    """
    assert values(changeable, linked) == ["p-renamed p-renamed"]


def test_deleting_a_connection_keeps_its_readings_and_takes_our_rows(changeable):
    with psycopg.connect(changeable.owner_dsn) as connection:
        connection.execute("delete from public.cgm_connections where id = 'c-alice'")

    kept = "select coalesce(cgm_connection_id, 'none') from public.glucose_readings where id = 'r-alice'"
    assert values(changeable, kept) == ["none"]
    assert values(changeable, "select 1 from cgm_private.sync_state where person_id = 'p-alice'") == []


def test_updated_at_moves_by_itself_in_utc(changeable):
    with psycopg.connect(changeable.owner_dsn) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute("update public.cgm_connections set updated_at = '2020-01-01' where id = 'c-alice'")
        connection.execute("update public.cgm_connections set status = 'error' where id = 'c-alice'")

    near = """
      select abs(extract(epoch from updated_at - now() at time zone 'UTC')) < 60
        from public.cgm_connections where id = 'c-alice'
    """
    assert values(changeable, near) == [True]
