"""``db verify --live`` tries isolation with two made-up people, tells what a stranger can do, leaves nothing behind."""

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from verify_worlds import load, look

from evercgm.storage.schema.verify_findings import Check, exit_code

SELECT, INSERT, UPDATE, DELETE, CASCADE = (
    f"public.cgm_connections: {what}"
    for what in ("select", "insert for another's person", "update of another's", "delete of another's", "CASCADE")
)
READINGS, SET_NULL = "public.glucose_readings: select", "public.glucose_readings: SET NULL"
OPEN = 'alter policy "Users can {verb} own CGM connections" on cgm_connections using (true);'
READING_KEY = "glucose_readings_cgm_connection_id_fkey"
PERSON_KEY = "cgm_connections_person_id_fkey"
COUNTS = """
select format('%I.%I', n.nspname, c.relname),
       (xpath('/row/n/text()', query_to_xml(
         format('select count(*) as n from %I.%I', n.nspname, c.relname), false, true, '')))[1]::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and n.nspname in ('public', 'cgm_private', 'cgm_jobs')
union all
select schemaname || '.' || sequencename, last_value::text from pg_sequences
order by 1
"""


@pytest.fixture(scope="module")
def migrated(postgres, template_of) -> Iterator[Any]:
    """A migrated standalone database; what tests do to it is never committed."""
    fresh = postgres.create(f"test_live_{secrets.token_hex(4)}", template_of(True))
    yield fresh
    postgres.drop(fresh.name)


async def live(dsn: str, mutation: str = "", **wish: Any) -> dict[str, Check]:
    return {one.object: one for one in await look(dsn, mutation, live=True, **wish) if one.id == "L1"}


async def test_the_migrating_role_proves_it_and_nothing_is_left(migrated):
    with psycopg.connect(migrated.admin_dsn, autocommit=True) as beside:
        before = beside.execute(COUNTS).fetchall()
        beside.execute("listen ch_pgqueuer")

        tried = await live(migrated.owner_dsn)

        after = beside.execute(COUNTS).fetchall()
        heard = list(beside.notifies(timeout=0))
    assert list(tried) == [SELECT, READINGS, INSERT, UPDATE, DELETE, SET_NULL, CASCADE]
    assert {one.status for one in tried.values()} == {"ok"}
    assert before == after
    assert heard == []


@pytest.mark.parametrize(
    ("sql", "failed"),
    [
        (OPEN.format(verb="view"), {SELECT}),
        ("alter table cgm_connections disable row level security", {SELECT, DELETE}),
        ("grant insert on cgm_connections to authenticated; alter policy "
         '"Users can insert own CGM connections" on cgm_connections with check (true)', {INSERT}),
        ("grant update on cgm_connections to authenticated;" + OPEN.format(verb="view")
         + OPEN.format(verb="update").replace("using (true)", "using (true) with check (true)"), {SELECT, UPDATE}),
        (OPEN.format(verb="view") + OPEN.format(verb="delete"), {SELECT, DELETE}),
        ('drop policy "Owners can view own persons" on "Person"', {SELECT}),
        (f"alter table cgm_connections drop constraint {PERSON_KEY}, add constraint {PERSON_KEY}"
         ' foreign key (person_id) references "Person"', {CASCADE}),
        (f"alter table cgm_connections drop constraint {PERSON_KEY}", {CASCADE}),
        (f"alter table glucose_readings drop constraint {READING_KEY}, add constraint {READING_KEY}"
         " foreign key (cgm_connection_id) references cgm_connections on delete cascade", {SET_NULL}),
        (f"alter table glucose_readings drop constraint {READING_KEY}, add constraint {READING_KEY}"
         " foreign key (cgm_connection_id) references cgm_connections", {SET_NULL}),
    ],
)  # fmt: skip
async def test_what_a_stranger_could_do_or_a_deletion_would_leave_is_told(migrated, sql, failed):
    tried = await live(migrated.admin_dsn, sql)

    assert {one.object for one in tried.values() if one.status == "fail"} == failed


async def test_readings_of_others_are_the_hosts_to_close(migrated):
    tried = await live(migrated.admin_dsn, "alter table glucose_readings disable row level security")

    assert {one.object for one in tried.values() if one.status == "warn"} == {READINGS}


@pytest.mark.parametrize("start", ["staging", "production"])
@pytest.mark.parametrize(("host_rls", "auto_grants"), [("off", "on"), ("on", "on"), ("off", "off"), ("on", "off")])
async def test_the_policies_of_the_report_hold_in_both_shapes(
    make_empty_database, shared_dir, start, host_rls, auto_grants
):
    fresh = make_empty_database()
    load(fresh.admin_dsn, shared_dir / f"database/{start}.sql", host_rls=host_rls, auto_grants=auto_grants)

    tried = await live(fresh.admin_dsn, expect=start)

    told = {one.object for one in tried.values() if one.status == "warn"}
    assert exit_code(tried.values()) == 0
    if auto_grants == "off":
        assert told == {SELECT}
        assert tried[SET_NULL].found == "so (by this role: the owner may not)"
    else:
        assert told == (set() if host_rls == "on" else {READINGS})
        assert (tried[UPDATE].found, tried[DELETE].found) == ("0 rows", "0 rows")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ('alter table "Person" add "firstName" text not null, add born date not null',
         'columns of the host app: public."Person"."firstName", public."Person".born'),
        ("alter table glucose_readings add food text not null", "public.glucose_readings.food"),
        ('alter table "Person" add constraint known check (length("ownerId") < 9)', "23514 known"),
        ("create table users (id text primary key);"
         'alter table "Person" add constraint person_user foreign key ("ownerId") references users',
         "23503 person_user"),
        ("set transaction read only", "read-only"),
        ("set local session authorization {service}", "may not add to Person"),
        ("create role api login; set local session authorization api", "may not become authenticated"),
        ("create role api login; grant authenticated to api; set local session authorization api",
         "may not add to Person"),
        ('alter table "Person" force row level security; alter table "Person" owner to {owner};'
         "set local session authorization {owner}", "row-level security hides rows of Person"),
        ("alter table glucose_readings rename to other", "there is no table glucose_readings"),
    ],
)  # fmt: skip
async def test_where_it_cannot_be_tried_the_reason_is_named_and_nothing_fails(migrated, postgres, sql, reason):
    tried = await live(migrated.admin_dsn, sql.format(service=postgres.service, owner=postgres.owner))

    (check,) = tried.values()
    assert (check.status, check.object) == ("unknown", "public.cgm_connections")
    assert reason in check.found


async def test_columns_of_the_host_that_fill_themselves_are_no_hindrance(migrated):
    sql = (
        'create sequence numbers; alter table "Person" add number int not null default 0,'
        " add twice int generated always as (1 + 1) stored, add note text"
    )

    tried = await live(migrated.admin_dsn, sql)

    assert {one.status for one in tried.values()} == {"ok"}
