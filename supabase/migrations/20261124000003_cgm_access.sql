set local lock_timeout = '5s';

-- Who may do what. cgm_request acts for a person (with the verified claims in the transaction), cgm_worker for the
-- service. Row-level security chooses rows, grants choose columns; tokens are granted to cgm_worker and service_role only.
-- Setting cgm.compat = 'on' leaves the grants that host clients of the first form rely on.

-- Group roles. Roles belong to the whole server, so another database may create them at the same moment.
do $$
declare
  r record;
begin
  begin
    if to_regrole('cgm_request') is null then
      create role cgm_request nologin inherit;
    end if;
    if to_regrole('cgm_worker') is null then
      create role cgm_worker nologin;
    end if;
  exception when duplicate_object or unique_violation then
    raise notice 'another database has just created the group roles';
  end;
  if to_regrole('cgm_request') is null or to_regrole('cgm_worker') is null then
    raise exception 'the group roles were created only in part: run this file again';
  end if;

  for r in
    select a.rolname
      from pg_catalog.pg_roles a
     where a.rolname in ('cgm_request', 'cgm_worker') and (a.rolsuper or a.rolbypassrls or a.rolcanlogin)
  loop
    raise exception 'role % may log in or pass row-level security: it must be a plain group', r.rolname;
  end loop;

  if not pg_has_role('cgm_request', 'authenticated', 'usage') then
    grant authenticated to cgm_request;
  end if;
end
$$;

-- Schemas.
do $$
declare
  s text;
  r text;
begin
  revoke all on schema cgm_private from public;
  grant usage on schema cgm_private to cgm_request, cgm_worker;
  foreach s in array array['public', 'auth'] loop
    foreach r in array array['cgm_request', 'cgm_worker'] loop
      if not has_schema_privilege(r, s, 'usage') then
        execute format('grant usage on schema %I to %I', s, r);
      end if;
    end loop;
  end loop;
end
$$;

-- Persons: who owns whom, nothing else.
grant select (id, "ownerId") on public."Person" to cgm_request, cgm_worker;

do $$
begin
  if (select c.relrowsecurity from pg_catalog.pg_class c where c.oid = 'public."Person"'::regclass) then
    grant select (id, "ownerId") on public."Person" to authenticated;
  end if;
end
$$;

drop policy if exists "cgm_worker may see persons" on public."Person";
create policy "cgm_worker may see persons" on public."Person"
  for select
  to cgm_worker
  using (true);

-- Connections: owners see ten columns and may delete; everything else goes through the service.
do $$
begin
  if coalesce(current_setting('cgm.compat', true), '') <> 'on' then
    revoke all on public.cgm_connections from public, authenticated;
    if to_regrole('anon') is not null then
      revoke all on public.cgm_connections from anon;
    end if;
  end if;
  if to_regrole('service_role') is not null then
    grant all on public.cgm_connections to service_role;
  end if;
end
$$;

grant
  select (id, person_id, provider, status, error_message, device_id, last_sync_at, token_expires_at, created_at, updated_at),
  delete
on public.cgm_connections to authenticated;
grant
  select (id, person_id, provider, status, error_message, device_id, last_sync_at, token_expires_at, created_at, updated_at)
on public.cgm_connections to cgm_request;
grant select, insert, update, delete on public.cgm_connections to cgm_worker;

drop policy if exists "Users can view own CGM connections" on public.cgm_connections;
create policy "Users can view own CGM connections" on public.cgm_connections
  for select
  to authenticated
  using (exists (
    select 1 from public."Person" p
     where p.id = cgm_connections.person_id and p."ownerId" = (select auth.uid())::text));

drop policy if exists "Users can insert own CGM connections" on public.cgm_connections;
create policy "Users can insert own CGM connections" on public.cgm_connections
  for insert
  to authenticated
  with check (exists (
    select 1 from public."Person" p
     where p.id = cgm_connections.person_id and p."ownerId" = (select auth.uid())::text));

drop policy if exists "Users can update own CGM connections" on public.cgm_connections;
create policy "Users can update own CGM connections" on public.cgm_connections
  for update
  to authenticated
  using (exists (
    select 1 from public."Person" p
     where p.id = cgm_connections.person_id and p."ownerId" = (select auth.uid())::text))
  with check (exists (
    select 1 from public."Person" p
     where p.id = cgm_connections.person_id and p."ownerId" = (select auth.uid())::text));

drop policy if exists "Users can delete own CGM connections" on public.cgm_connections;
create policy "Users can delete own CGM connections" on public.cgm_connections
  for delete
  to authenticated
  using (exists (
    select 1 from public."Person" p
     where p.id = cgm_connections.person_id and p."ownerId" = (select auth.uid())::text));

drop policy if exists "cgm_worker may keep connections" on public.cgm_connections;
create policy "cgm_worker may keep connections" on public.cgm_connections
  for all
  to cgm_worker
  using (true)
  with check (true);

-- Readings.
grant select on public.glucose_readings to cgm_request;
grant select, insert, update, delete on public.glucose_readings to cgm_worker;

drop policy if exists "cgm_worker may keep readings" on public.glucose_readings;
create policy "cgm_worker may keep readings" on public.glucose_readings
  for all
  to cgm_worker
  using (true)
  with check (true);

-- Our own tables. The service keeps them all; of the record of deeds it may only add and read.
do $$
declare
  t name;
begin
  for t in
    select c.relname
      from pg_catalog.pg_class c
     where c.relnamespace = 'cgm_private'::regnamespace and c.relkind in ('r', 'p') and c.relname <> 'audit_events'
  loop
    execute format('grant select, insert, update, delete on cgm_private.%I to cgm_worker', t);
    execute format('drop policy if exists "cgm_worker may keep all" on cgm_private.%I', t);
    execute format(
      'create policy "cgm_worker may keep all" on cgm_private.%I for all to cgm_worker using (true) with check (true)', t);
  end loop;
end
$$;

grant select, insert on cgm_private.audit_events to cgm_worker;
drop policy if exists "cgm_worker may read events" on cgm_private.audit_events;
create policy "cgm_worker may read events" on cgm_private.audit_events
  for select
  to cgm_worker
  using (true);
drop policy if exists "cgm_worker may add events" on cgm_private.audit_events;
create policy "cgm_worker may add events" on cgm_private.audit_events
  for insert
  to cgm_worker
  with check (true);

-- What a person's owner may see of them.
do $$
declare
  t name;
begin
  foreach t in array array[
    'sync_state', 'sync_runs', 'reading_details', 'rejected_records', 'person_settings', 'audit_events']::name[]
  loop
    execute format('drop policy if exists "Owners can view their persons" on cgm_private.%I', t);
    execute format(
      'create policy "Owners can view their persons" on cgm_private.%1$I for select to cgm_request using (exists ('
      'select 1 from public."Person" p where p.id = %1$I.person_id and p."ownerId" = (select auth.uid())::text))', t);
  end loop;
end
$$;

grant select on
  cgm_private.sync_runs, cgm_private.reading_details, cgm_private.rejected_records,
  cgm_private.person_settings, cgm_private.audit_events
to cgm_request;
grant
  select (connection_id, person_id, region, vendor_account_id, next_sync_at, failures_since, failure_count, reason,
          windows_done, history_start, history_done_at, last_daily_scan_at, last_weekly_scan_at, refresh_until, generation,
          connected_at, created_at, updated_at)
on cgm_private.sync_state to cgm_request;

-- updated_at has no default in the host's schema, and may not get one: plain SQL is helped by a trigger.
create or replace function cgm_private.touch_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := coalesce(new.updated_at, now() at time zone 'UTC');
  elsif new.updated_at is null or new.updated_at = old.updated_at then
    new.updated_at := now() at time zone 'UTC';
  end if;
  return new;
end
$$;
revoke all on function cgm_private.touch_updated_at() from public;

create or replace trigger cgm_connections_updated_at
  before insert or update on public.cgm_connections
  for each row
  execute function cgm_private.touch_updated_at();

-- A reading may name a connection of its own person only. Foreign and missing ids give the same error, so that nobody can
-- tell existing ids from others. Runs with its owner's rights: the caller need not see the connections.
-- Row by row and before: after the statement the foreign key would have answered first, and only for missing ids.
create or replace function cgm_private.check_reading_connection()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- A person's id is changing: the cascades reach readings and connections one after the other.
  if tg_op = 'UPDATE' and pg_trigger_depth() > 1 and new.cgm_connection_id = old.cgm_connection_id then
    return new;
  end if;
  if not exists (
    select from public.cgm_connections c where c.id = new.cgm_connection_id and c.person_id = new.person_id
  ) then
    raise exception 'a reading may only name a connection of its own person'
      using errcode = 'check_violation', constraint = 'glucose_readings_own_connection', table = 'glucose_readings';
  end if;
  return new;
end
$$;
revoke all on function cgm_private.check_reading_connection() from public;

create or replace trigger glucose_readings_own_connection
  before insert or update of cgm_connection_id, person_id on public.glucose_readings
  for each row
  when (new.cgm_connection_id is not null)
  execute function cgm_private.check_reading_connection();

-- The service asks whether all migrations are in.
do $$
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    grant usage on schema supabase_migrations to cgm_worker;
    grant select (version, name) on supabase_migrations.schema_migrations to cgm_worker;
  end if;
end
$$;
