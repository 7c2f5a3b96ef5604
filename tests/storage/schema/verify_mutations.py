"""What can be broken in a migrated database: SQL, then the check that tells, how, and of what."""

CONNECTION = (
    "insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at, status)"
    " values ('c-{id}', 'p-{id}', 'dexcom', '{access}', '{refresh}', '{until}', 'connected');"
)
PERSON = "insert into \"Person\" values ('p-{id}', '{owner}');"
READING = (
    "insert into glucose_readings (id, person_id, timestamp, value, source, cgm_connection_id)"
    " values ('{id}', '{person}', '2026-01-01', 100, 'cgm', {connection});"
)
ALICE, BOB = (f"{letter}0000000-0000-4000-8000-00000000000{letter}" for letter in "ab")


def person(name: str, owner: str = ALICE) -> str:
    return PERSON.format(id=name, owner=owner)


def connection(name: str, access: str = "", refresh: str = "", until: str = "9999-12-31") -> str:
    return person(name) + CONNECTION.format(id=name, access=access, refresh=refresh, until=until)


def policy(verb: str) -> str:
    return f'"Users can {verb} own CGM connections"'


OWN = 'exists (select 1 from "Person" p where p.id = cgm_connections.person_id and p."ownerId" = {who})'
HISTORY = "supabase_migrations.schema_migrations"
BASE = "create view base as select c.id, c.access_token || '' as tok from cgm_connections c;"
OPEN_VIEW = "grant select on seen to authenticated"
# The triggers by which a table's references work.
INTERNAL = (
    "do $$ declare t name; begin for t in select tgname from pg_trigger where tgisinternal"
    " and tgrelid = '{table}'::regclass loop execute format('alter table {table} {mode} trigger %I', t);"
    " end loop; end $$"
)
# What is broken: SQL, then the check that tells, how, and of what.
BROKEN = [
    ("alter table cgm_connections rename error_message to message",
     "T1", "fail", "column public.cgm_connections.error_message"),
    ("alter table cgm_connections alter device_id type varchar(40)",
     "T1", "fail", "column public.cgm_connections.device_id"),
    ("alter table cgm_connections alter device_id set not null",
     "T1", "fail", "column public.cgm_connections.device_id"),
    ("alter table cgm_connections alter status drop default", "T1", "fail", "column public.cgm_connections.status"),
    ("alter table cgm_connections add note text", "T1", "warn", "column public.cgm_connections.note"),
    ("alter table cgm_connections add tenant text not null", "T1", "fail", "column public.cgm_connections.tenant"),
    ("drop table cgm_private.vendor_budgets", "T1", "fail", "table cgm_private.vendor_budgets"),
    ("alter table cgm_private.routes set unlogged", "T1", "fail", "table cgm_private.routes"),
    ("drop schema cgm_jobs cascade", "T1", "fail", "schema cgm_jobs"),
    ('alter type "CGMProvider" add value \'other\'', "T2", "fail", 'enum public."CGMProvider"'),
    ("alter type \"CGMConnectionStatus\" rename value 'error' to 'failed'",
     "T2", "fail", 'enum public."CGMConnectionStatus"'),
    ("drop index cgm_connections_last_sync_at_idx",
     "T3", "fail", "index public.cgm_connections.cgm_connections_last_sync_at_idx"),
    ("update pg_index set indisvalid = false where indexrelid = 'cgm_connections_status_idx'::regclass",
     "T3", "fail", "index public.cgm_connections.cgm_connections_status_idx"),
    ("drop index cgm_connections_person_id_provider_key;"
     "create index cgm_connections_person_id_provider_key on cgm_connections (person_id, provider)",
     "T3", "fail", "index public.cgm_connections.cgm_connections_person_id_provider_key"),
    ("create index mine on cgm_connections (device_id)", "T3", "warn", "index public.cgm_connections.mine"),
    ("alter table cgm_connections drop constraint cgm_connections_person_id_fkey",
     "T4", "fail", "constraint public.cgm_connections.cgm_connections_person_id_fkey"),
    ("alter table cgm_connections drop constraint cgm_connections_person_id_fkey, add constraint"
     ' cgm_connections_person_id_fkey foreign key (person_id) references "Person" on update cascade'
     " on delete cascade not valid",
     "T4", "fail", "constraint public.cgm_connections.cgm_connections_person_id_fkey"),
    ("alter table cgm_connections drop constraint cgm_connections_person_id_fkey, add constraint"
     ' cgm_connections_person_id_fkey foreign key (person_id) references "Person" on update cascade',
     "T4", "fail", "constraint public.cgm_connections.cgm_connections_person_id_fkey"),
    ("alter table cgm_private.person_settings drop constraint person_settings_targets",
     "T4", "fail", "constraint cgm_private.person_settings.person_settings_targets"),
    ("alter table cgm_connections add constraint mine check (device_id <> '')",
     "T4", "warn", "constraint public.cgm_connections.mine"),
    ("alter table cgm_connections disable trigger all",
     "T4", "fail", "constraint public.cgm_connections.cgm_connections_person_id_fkey"),
    ("alter table cgm_connections disable trigger all",
     "T4", "fail", "constraint public.glucose_readings.glucose_readings_cgm_connection_id_fkey"),
    ('alter table "Person" disable trigger all',
     "T4", "fail", "constraint cgm_private.routes.routes_person_id_fkey"),
    (INTERNAL.format(table="public.glucose_readings", mode="enable replica"),
     "T4", "fail", "constraint public.glucose_readings.glucose_readings_cgm_connection_id_fkey"),
    ('alter table "Person" disable trigger all',
     "T4", "warn", "constraint public.glucose_readings.glucose_readings_person_id_fkey"),
    ("create rule stay as on delete to cgm_connections do instead nothing",
     "T4", "fail", "rule public.cgm_connections stay"),
    ("create rule keep as on update to glucose_readings do instead nothing",
     "T4", "fail", "rule public.glucose_readings keep"),
    ("create rule copy as on insert to cgm_private.routes do also notify routes",
     "T4", "fail", "rule cgm_private.routes copy"),
    ('create rule told as on update to "Person" do also notify persons', "T4", "warn", 'rule public."Person" told'),
    ("alter table glucose_readings drop constraint glucose_readings_cgm_connection_id_fkey, add constraint"
     " glucose_readings_cgm_connection_id_fkey foreign key (cgm_connection_id) references cgm_connections"
     " on update cascade on delete cascade",
     "T5", "fail", "constraint public.glucose_readings.glucose_readings_cgm_connection_id_fkey"),
    ("drop index glucose_readings_cgm_connection_id_idx",
     "T5", "fail", "index public.glucose_readings.glucose_readings_cgm_connection_id_idx"),
    ("alter table glucose_readings alter cgm_connection_id set not null",
     "T5", "fail", "column public.glucose_readings.cgm_connection_id"),
    ("drop trigger glucose_readings_own_connection on glucose_readings",
     "T6", "fail", "trigger public.glucose_readings glucose_readings_own_connection"),
    ("alter table cgm_connections disable trigger cgm_connections_updated_at",
     "T6", "fail", "trigger public.cgm_connections cgm_connections_updated_at"),
    ("alter function cgm_private.touch_updated_at() reset search_path",
     "T6", "fail", "function cgm_private.touch_updated_at()"),
    ("create function cgm_private.loose() returns int language sql as 'select 1'",
     "T6", "fail", "function cgm_private.loose()"),
    ("create function cgm_private.tight() returns int language sql set search_path = '' as 'select 1'",
     "T6", "warn", "function cgm_private.tight()"),
    ("create trigger theirs before insert on cgm_connections for each row"
     " execute function cgm_private.touch_updated_at()",
     "T6", "warn", "trigger public.cgm_connections theirs"),
    ("alter table cgm_connections disable row level security", "R1", "fail", "table public.cgm_connections"),
    ("alter table cgm_private.routes disable row level security", "R1", "fail", "table cgm_private.routes"),
    ("alter table cgm_connections force row level security", "R1", "warn", "table public.cgm_connections"),
    ("alter table cgm_jobs.pgqueuer enable row level security", "R1", "fail", "table cgm_jobs.pgqueuer"),
    ("alter role {service} bypassrls", "R1", "fail", "role {service}"),
    ("alter role {service} superuser", "R1", "fail", "role {service}"),
    ("alter table cgm_private.routes owner to {service}", "R1", "fail", "role {service}"),
    (f"drop policy {policy('view')} on cgm_connections",
     "R2", "fail", f"policy public.cgm_connections {policy('view')}"),
    (f"alter policy {policy('delete')} on cgm_connections to public",
     "R2", "fail", f"policy public.cgm_connections {policy('delete')}"),
    (f"drop policy {policy('view')} on cgm_connections;"
     f" create policy {policy('view')} on cgm_connections as restrictive"
     f" for select to authenticated using ({OWN.format(who='(select auth.uid())::text')})",
     "R2", "fail", f"policy public.cgm_connections {policy('view')}"),
    ("create policy mine on cgm_connections for select to public using (true)",
     "R2", "fail", "policy public.cgm_connections mine"),
    ("create policy mine on cgm_connections as restrictive to public using (true)",
     "R2", "fail", "policy public.cgm_connections mine"),
    ("create policy mine on cgm_connections to service_role using (true)",
     "R2", "warn", "policy public.cgm_connections mine"),
    ('drop policy "cgm_worker may keep all" on cgm_private.routes',
     "R2", "fail", 'policy cgm_private.routes "cgm_worker may keep all"'),
    ('drop policy "cgm_worker may keep readings" on glucose_readings',
     "R2", "fail", 'policy public.glucose_readings "cgm_worker may keep readings"'),
    (f"alter policy {policy('view')} on cgm_connections using ("
     'exists (select 1 from "Person" p where p.id = person_id and p."ownerId"::uuid = auth.uid()))',
     "R3", "fail", f"policy public.cgm_connections {policy('view')}"),
    (f"alter policy {policy('view')} on cgm_connections using (true)",
     "R3", "fail", f"policy public.cgm_connections {policy('view')}"),
    (f"alter policy {policy('update')} on cgm_connections with check (true)",
     "R3", "fail", f"policy public.cgm_connections {policy('update')}"),
    (f"alter policy {policy('view')} on cgm_connections using ({OWN.format(who='auth.uid()::text')})",
     "R3", "warn", f"policy public.cgm_connections {policy('view')}"),
    ("alter function auth.uid() volatile", "R4", "fail", "function auth.uid()"),
    ("alter function auth.uid() rename to who", "R4", "fail", "function auth.uid()"),
    ("create or replace function auth.uid() returns uuid language sql stable as "
     f"$$ select '{BOB}'::uuid $$", "R4", "warn", "function auth.uid()"),
    ("create or replace function auth.uid() returns uuid language sql stable as "
     "$$ select current_setting('request.jwt.claim.sub', true)::uuid $$", "R4", "warn", "function auth.uid()"),
    ('alter table "Person" disable row level security; grant update on "Person" to authenticated',
     "R5", "warn", 'table public."Person"'),
    ('alter table "Person" disable row level security; grant update ("ownerId") on "Person" to anon',
     "R5", "warn", 'table public."Person"'),
    ('drop policy "Owners can view own persons" on "Person"', "R5", "warn", 'table public."Person"'),
    ('create policy mine on "Person" for all to authenticated using (true)',
     "R5", "warn", 'policy public."Person" mine'),
    (f'create policy mine on "Person" for update using ("ownerId" = \'{ALICE}\')',
     "R5", "warn", 'policy public."Person" mine'),
    ('create policy mine on "Person" for insert to authenticated with check ("ownerId" is not null)',
     "R5", "warn", 'policy public."Person" mine'),
    ('create policy mine on "Person" for update to authenticated'
     ' using ("ownerId" = (select auth.uid())::text) with check (true)', "R5", "warn", 'policy public."Person" mine'),
    ('revoke select ("ownerId") on "Person" from authenticated', "R5", "warn", 'table public."Person"'),
    ('drop index "Person_ownerId_idx"', "R5", "warn", 'index on public."Person" ("ownerId")'),
    ("alter table glucose_readings disable row level security", "R6", "warn", "table public.glucose_readings"),
    ("alter table glucose_readings disable row level security; revoke all on glucose_readings from anon, authenticated",
     "R6", "warn", "table public.glucose_readings"),
    ("create policy mine on glucose_readings for all to authenticated using (true)",
     "R6", "warn", "policy public.glucose_readings mine"),
    ("create policy mine on glucose_readings for select to cgm_request using (value > 0)",
     "R6", "warn", "policy public.glucose_readings mine"),
    ('drop policy "Owners can view own readings" on glucose_readings', "R6", "warn", "table public.glucose_readings"),
    ("create policy mine on glucose_readings as restrictive using (true)",
     "R6", "warn", "policy public.glucose_readings mine"),
    ("grant truncate on cgm_connections to authenticated", "G1", "fail", "table public.cgm_connections"),
    ("grant trigger on cgm_connections to public", "G1", "fail", "table public.cgm_connections"),
    ("grant references (id) on cgm_connections to anon", "G1", "fail", "table public.cgm_connections"),
    ("grant truncate on cgm_jobs.pgqueuer to anon", "G1", "fail", "table cgm_jobs.pgqueuer"),
    ("grant truncate on glucose_readings to authenticated", "G1", "warn", "table public.glucose_readings"),
    ("grant select (access_token) on cgm_connections to authenticated",
     "G2", "fail", "column public.cgm_connections.access_token"),
    ("grant select (metadata) on cgm_connections to public", "G2", "fail", "column public.cgm_connections.metadata"),
    ("grant update (status) on cgm_connections to authenticated", "G2", "fail", "table public.cgm_connections"),
    ("grant delete on cgm_connections to anon", "G2", "fail", "table public.cgm_connections"),
    ("grant select on cgm_private.sync_runs to authenticated", "G2", "fail", "table cgm_private.sync_runs"),
    ("grant usage on sequence cgm_jobs.pgqueuer_id_seq to anon", "G2", "fail", "table cgm_jobs.pgqueuer_id_seq"),
    ("grant usage on schema cgm_private to authenticated", "G2", "fail", "schema grant cgm_private to authenticated"),
    ("grant execute on function cgm_private.touch_updated_at() to public",
     "G2", "fail", "function grant cgm_private.touch_updated_at() to public"),
    ("create view seen as select id, access_token from cgm_connections; grant select on seen to authenticated",
     "G2", "fail", "view public.seen"),
    (f"{BASE} create view seen as select id, tok from base; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"{BASE} create materialized view seen as select * from base; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"{BASE} alter view base set (security_invoker = on); create materialized view seen as select * from base;"
     f" {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"create view seen as select to_jsonb(c) as all_of_it from cgm_connections c; {OPEN_VIEW}",
     "G2", "fail", "view public.seen"),
    (f"create view seen as select c.id, c from cgm_connections c; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"create view seen as select metadata from cgm_connections; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"create view seen as select sync_cursor from cgm_connections; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    (f"create view seen as select connection from cgm_private.quarantined_connections; {OPEN_VIEW}",
     "G2", "fail", "view public.seen"),
    (f"create view seen as select payload from cgm_jobs.pgqueuer; {OPEN_VIEW}", "G2", "fail", "view public.seen"),
    ("grant service_role to cgm_worker", "G3", "fail", "role cgm_worker"),
    ("alter role cgm_request bypassrls", "G3", "fail", "role cgm_request"),
    ("alter role cgm_request login", "G3", "fail", "role cgm_request"),
    ("alter role cgm_request noinherit", "G3", "fail", "role cgm_request"),
    # By hand, as only who granted it may revoke it.
    ("delete from pg_auth_members where member = 'cgm_request'::regrole", "G3", "fail", "role cgm_request"),
    ("grant anon to cgm_request", "G3", "fail", "role cgm_request"),
    ("alter role cgm_worker createdb", "G3", "fail", "role cgm_worker"),
    ("alter role cgm_worker createrole", "G3", "fail", "role cgm_worker"),
    ("grant cgm_request to cgm_worker", "G3", "fail", "role cgm_worker"),
    ("grant cgm_worker to cgm_request", "G3", "fail", "role cgm_worker"),
    ("grant cgm_worker to authenticated", "G3", "fail", "role cgm_worker"),
    ("create role between; grant cgm_worker to between; grant between to anon", "G3", "fail", "role cgm_worker"),
    ("grant cgm_request to anon", "G3", "fail", "role cgm_request"),
    ("grant service_role to {service}", "G3", "fail", "role {service}"),
    ("create role between; grant service_role to between; grant between to {service}", "G3", "fail", "role {service}"),
    ("alter default privileges in schema public grant select on tables to anon",
     "G4", "warn", "default privileges public"),
    ("revoke insert on cgm_connections from cgm_worker", "G5", "fail", "grant public.cgm_connections to cgm_worker"),
    ('grant update on "Person" to cgm_worker', "G5", "fail", 'grant public."Person" to cgm_worker'),
    ("revoke usage on schema cgm_jobs from cgm_worker", "G5", "fail", "schema grant cgm_jobs to cgm_worker"),
    ("grant select on cgm_private.signing_keys to cgm_request",
     "G5", "fail", "grant cgm_private.signing_keys to cgm_request"),
    ("revoke all on cgm_connections from authenticated",
     "G5", "fail", "grant public.cgm_connections to authenticated"),
    ("revoke select (status) on cgm_connections from authenticated",
     "G5", "fail", "grant public.cgm_connections to authenticated"),
    ("revoke delete on cgm_connections from service_role",
     "G5", "fail", "grant public.cgm_connections to service_role"),
    ("grant select on cgm_private.routes to service_role", "G5", "fail", "grant cgm_private.routes to service_role"),
    (person("1", "legacy-user-17"), "D1", "warn", 'public."Person".ownerId'),
    (person("1", ALICE.upper()), "D1", "warn", 'public."Person".ownerId'),
    (connection("1") + person("2") + "set local session_replication_role = replica;"
     + READING.format(id="r", person="p-2", connection="'c-1'"),
     "D1", "warn", "public.glucose_readings.cgm_connection_id"),
    (person("1") + READING.format(id="r", person="p-1", connection="null")
     + READING.format(id="s", person="p-1", connection="null"),
     "D1", "warn", "public.glucose_readings"),
    (connection("1", access="plain-access-a1"), "D2", "warn", "public.cgm_connections.access_token, refresh_token"),
    (connection("1", refresh="enc:placeholder"), "D2", "warn", "public.cgm_connections.access_token, refresh_token"),
    (connection("1", until="2025-10-16"), "D2", "warn", "public.cgm_connections.token_expires_at"),
    (connection("1", access="v1.0123abcd.AAAA"), "D2", "warn", "key ids"),
    (connection("1") + "insert into cgm_private.routes"
     " (id, connection_id, person_id, route, region, session_expires_at, secret)"
     " values ('r', 'c-1', 'p-1', 'share', 'us', now(), 'v1.0123abcd.AAAA')", "D2", "warn", "key ids"),
    (person("1") + "insert into cgm_private.quarantined_connections (id, person_id, connection, reason)"
     " values ('q', 'p-1', '{{}}', 'unknown_provider')", "D3", "warn", "cgm_private.quarantined_connections"),
    (f"delete from {HISTORY} where version = '20261124000002'",
     "H1", "fail", "migration 20261124000002_cgm_private_state"),
    (f"insert into {HISTORY} (version, name) values ('20990101000000', 'cgm_future')", "H1", "warn", HISTORY),
    ("drop schema supabase_migrations cascade", "H1", "fail", "migration 20251016000001_add_cgm_connection"),
    ("create table _prisma_migrations (migration_name text, started_at timestamptz, finished_at timestamptz,"
     " rolled_back_at timestamptz)", "H1", "warn", "public._prisma_migrations"),
    ("create table _prisma_migrations (migration_name text, started_at timestamptz, finished_at timestamptz,"
     " rolled_back_at timestamptz); insert into _prisma_migrations values ('20260101_food', now(), null, null)",
     "H1", "warn", "public._prisma_migrations"),
]  # fmt: skip
