"""The rules that our schema keeps, asked of the catalog on each start; each query is proved to find an offender."""

import asyncio
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from by_hand import EVERYTHING_IS_OPEN, run
from verify_worlds import load

from evercgm.storage.schema.migrate import migrate

FILE = Path(__file__).with_name("catalog_gate.sql")
_PARTS = re.split(r"^-- name: (\w+)\n", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
RULES = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
USERS = '"Users can {} own CGM connections"'
PARTS = """
create table cgm_private.parts (id text, day date) partition by range (day);
alter table cgm_private.parts enable row level security;
create policy all_of_them on cgm_private.parts to cgm_worker using (true) with check (true);
create table cgm_private.part_one partition of cgm_private.parts for values from ('2026-01-01') to ('2027-01-01');
"""
# A mutation, and the offender that the rule must name after it.
OFFENCES = [
    ("tables_without_row_level_security", "alter table cgm_connections disable row level security", "cgm_connections"),
    ("tables_without_row_level_security", "create table cgm_private.new (id int)", "cgm_private.new"),
    ("tables_without_row_level_security", PARTS, "cgm_private.part_one"),
    ("tables_that_force_it_on_their_owner", "alter table cgm_connections force row level security", "cgm_connections"),
    ("policies_without_row_level_security", "alter table cgm_private.sync_runs disable row level security",
     "Owners can view their persons on cgm_private.sync_runs"),
    ("row_level_security_without_policies", 'drop policy "cgm_worker may keep all" on cgm_private.routes',
     "cgm_private.routes"),
    ("update_policies_without_with_check", "create policy mine on cgm_connections for update to anon using (true)",
     "mine on cgm_connections"),
    ("update_policies_without_with_check", "create policy mine on glucose_readings to cgm_worker using (true)",
     "mine on glucose_readings"),
    ("policies_to_public", f"alter policy {USERS.format('view')} on cgm_connections to public",
     "Users can view own CGM connections on cgm_connections"),
    ("identity_asked_once_a_row", f"alter policy {USERS.format('view')} on cgm_connections using (exists ("
     'select from "Person" p where p.id = person_id and p."ownerId" = auth.uid()::text))',
     "Users can view own CGM connections on cgm_connections"),
    ("identity_asked_once_a_row", "create policy mine on cgm_private.routes to cgm_request"
     " with check ((select auth.uid()) is not null and current_setting('x') = 'y')", "mine on cgm_private.routes"),
    ("overlapping_permissive_policies", "create policy mine on cgm_connections for delete to cgm_worker using (true)",
     "cgm_connections, cgm_worker, d"),
    ("foreign_keys_without_index", "drop index cgm_private.routes_person_id_idx",
     "routes_person_id_fkey on cgm_private.routes"),
    ("foreign_keys_without_index", "drop index glucose_readings_cgm_connection_id_idx",
     "glucose_readings_cgm_connection_id_fkey on glucose_readings"),
    ("secrets_open_to_the_api", "grant select (access_token) on cgm_connections to authenticated",
     "cgm_connections.access_token to authenticated"),
    ("secrets_open_to_the_api", "grant select (sync_cursor) on cgm_connections to public",
     "cgm_connections.sync_cursor to anon"),
    ("secrets_open_to_the_api", "grant select (metadata) on cgm_connections to anon",
     "cgm_connections.metadata to anon"),
    ("secrets_open_to_the_api", "grant select on cgm_jobs.pgqueuer to authenticated",
     "cgm_jobs.pgqueuer.payload to authenticated"),
    ("writing_open_to_the_api", "grant update (status) on cgm_connections to authenticated",
     "cgm_connections to authenticated"),
    ("writing_open_to_the_api", "grant delete on cgm_connections to public", "cgm_connections to anon"),
    ("rights_beyond_rows_of_the_api", "grant truncate on cgm_connections to authenticated",
     "truncate on cgm_connections to authenticated"),
    ("rights_beyond_rows_of_the_api", "grant references (id) on cgm_connections to anon",
     "references on cgm_connections to anon"),
    ("rights_beyond_rows_of_the_api", PARTS + "grant trigger on cgm_private.part_one to anon",
     "trigger on cgm_private.part_one to anon"),
    ("sequences_open_to_the_api", "grant usage on sequence cgm_jobs.pgqueuer_id_seq to authenticated",
     "cgm_jobs.pgqueuer_id_seq to authenticated"),
    ("schemas_open_to_the_api", "grant usage on schema cgm_private to public", "cgm_private to anon"),
    ("secrets_open_to_persons", "grant select on cgm_private.sync_state to cgm_request",
     "cgm_private.sync_state.previous_refresh_token"),
    ("secrets_open_to_persons", "grant select (access_token) on cgm_connections to authenticated",
     "cgm_connections.access_token"),
    ("functions_with_a_loose_search_path", "alter function cgm_private.touch_updated_at() reset search_path",
     "cgm_private.touch_updated_at()"),
    ("functions_open_to_the_api", "create function cgm_private.open() returns int language sql as 'select 1'",
     "cgm_private.open() to anon"),
    ("service_roles_that_may_do_more", "grant service_role to {service}", "{service}: service_role"),
    ("service_roles_that_may_do_more", "create role between; grant service_role to between; grant between to {service}",
     "{service}: service_role"),
    ("service_roles_that_may_do_more", "alter role {service} superuser", "{service}: {service}"),
    ("service_roles_that_may_do_more", "alter role {service} bypassrls", "{service}: {service}"),
    ("service_roles_that_may_do_more", "alter table cgm_connections owner to {service}", "{service}: {service}"),
    ("service_roles_that_may_do_more", "grant service_role to cgm_request", "cgm_request: service_role"),
    ("groups_that_may_log_in", "alter role cgm_worker login", "cgm_worker"),
    ("login_roles_that_inherit", "revoke cgm_worker from {service}; alter role {service} inherit;"
     " grant cgm_worker to {service}", "{service} inherits cgm_worker"),
    ("grants_to_others_in_our_schemas", "alter default privileges grant select on tables to authenticated;"
     " create table cgm_private.later (id int)", "cgm_private.later to authenticated"),
    ("grants_to_others_in_our_schemas", "alter default privileges grant usage on sequences to service_role;"
     " create sequence cgm_jobs.later", "cgm_jobs.later to service_role"),
    ("grants_to_others_in_our_schemas", "alter default privileges grant usage on schemas to anon;"
     " drop schema cgm_jobs cascade; create schema cgm_jobs", "cgm_jobs to anon"),
    ("grants_to_others_in_our_schemas",
     "create function cgm_private.later() returns int language sql set search_path = '' as 'select 1'",
     "cgm_private.later() to public"),
    ("grants_to_others_in_our_schemas", "grant select (id) on cgm_private.routes to public",
     "cgm_private.routes.id to public"),
    ("members_of_the_groups", "grant cgm_worker to cgm_request", "cgm_request in cgm_worker"),
    ("members_of_the_groups", "grant cgm_worker to authenticated", "authenticated in cgm_worker"),
    ("members_of_the_groups", "grant cgm_request to anon", "anon in cgm_request"),
    ("members_of_the_groups", "create role between; grant cgm_worker to between; grant between to service_role",
     "service_role in cgm_worker"),
    ("members_of_the_groups", "grant cgm_worker to authenticator", "authenticator in cgm_worker"),
    ("groups_in_another_form", "alter role cgm_request createrole",
     "cgm_request: inherits, makes roles, member of authenticated"),
    ("groups_in_another_form", "delete from pg_auth_members where member = 'cgm_request'::regrole",
     "cgm_request: inherits"),
    ("groups_in_another_form", "grant anon to cgm_worker", "cgm_worker: inherits, member of anon"),
    ("views_over_our_tables", "create view seen as select id from cgm_connections", "seen"),
    ("views_over_our_tables", "create view base as select to_jsonb(c) from cgm_connections c;"
     " create view seen as select * from base", "seen"),
    ("views_over_our_tables", "create materialized view seen as select connection"
     " from cgm_private.quarantined_connections", "seen"),
    ("references_that_do_nothing", "alter table cgm_connections disable trigger all",
     "cgm_connections_person_id_fkey on cgm_connections"),
    ("references_that_do_nothing", 'alter table "Person" disable trigger all',
     'cgm_connections_person_id_fkey on "Person"'),
    ("triggers_that_do_not_fire", "alter table cgm_connections enable replica trigger cgm_connections_updated_at",
     "cgm_connections_updated_at on cgm_connections"),
    ("rules_on_our_tables", "create rule stay as on delete to cgm_connections do instead nothing",
     "stay on cgm_connections"),
    ("rules_on_our_tables", "create rule told as on insert to cgm_private.routes do also notify routes",
     "told on cgm_private.routes"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["bootstrap", "staging", "production", "open"])
def migrated(request, postgres, template_of, shared_dir) -> Iterator[str]:
    """A migrated database of each start, as superuser; what tests do to it is never committed.

    "open": in the production form, of a project whose default privileges open everything.
    """
    # The template makes the service's login role, which belongs to the whole server.
    template, name = template_of(True), f"test_gate_{secrets.token_hex(4)}"
    if request.param == "bootstrap":
        fresh = postgres.create(name, template)
    else:
        fresh = postgres.create(name)
        form = "production" if request.param == "open" else request.param
        load(fresh.admin_dsn, shared_dir / f"database/{form}.sql")
        if request.param == "open":
            run(fresh.admin_dsn, *EVERYTHING_IS_OPEN)
        with ThreadPoolExecutor(1) as apart:
            apart.submit(asyncio.run, migrate(fresh.admin_dsn, unknown="quarantine")).result()
    yield fresh.admin_dsn
    postgres.drop(name)


def offenders(dsn: str, rule: str, mutation: str = "") -> list[str]:
    with psycopg.connect(dsn) as connection:
        if mutation:
            connection.execute(mutation.encode())
        found = [row[0] for row in connection.execute(RULES[rule].encode()).fetchall()]
        connection.rollback()
    return found


@pytest.mark.parametrize("rule", RULES)
def test_nothing_of_ours_breaks_the_rule(migrated, rule):
    assert offenders(migrated, rule) == []


@pytest.mark.parametrize(("rule", "mutation", "offender"), OFFENCES)
def test_an_offender_is_found(migrated, postgres, rule, mutation, offender):
    found = offenders(migrated, rule, mutation.replace("{service}", postgres.service))

    assert offender.replace("{service}", postgres.service) in found


def test_every_rule_is_proved_able_to_fail():
    assert {rule for rule, _, _ in OFFENCES} == set(RULES)
