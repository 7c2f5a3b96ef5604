set local lock_timeout = '5s';
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;

-- Who may do what. cgm_request acts for a person (with the verified claims in the transaction), cgm_worker for the
-- service. Row-level security chooses rows, grants choose columns; tokens are granted to cgm_worker and service_role only.
-- Setting cgm.compat = 'on' leaves the grants that host clients of the first form rely on.

-- Roles that are there, by these names, must be what this file makes of them; and we must be able to make the others.
do $$
declare
  me record;
  wrong text;
begin
  select r.rolname as name, r.rolsuper as superuser, r.rolsuper or r.rolcreaterole as may_make_roles
    into me
    from pg_catalog.pg_roles r
   where r.rolname = current_user;
  if to_regrole('authenticated') is null then
    raise exception 'role authenticated is missing: a Supabase project has it'
      using errcode = 'undefined_object', hint = 'on a PostgreSQL of your own, first: evercgm db bootstrap --standalone';
  end if;
  if not me.may_make_roles and (to_regrole('cgm_request') is null or to_regrole('cgm_worker') is null) then
    raise exception 'role % may not make the roles cgm_request and cgm_worker', me.name
      using errcode = 'insufficient_privilege', hint = 'it needs CREATEROLE';
  end if;
  if (to_regrole('cgm_request') is null or not pg_has_role('cgm_request', 'authenticated', 'usage'))
     and not me.superuser
     and current_setting('server_version_num')::integer >= 160000
     and not pg_has_role('authenticated', 'member with admin option') then
    raise exception 'role % may not hand on authenticated', me.name
      using errcode = 'insufficient_privilege',
            hint = format('as an administrator: grant authenticated to %I with admin option', me.name);
  end if;

  select string_agg(
           format('role %s: expected a plain group%s; found: %s', r.rolname,
                  case r.rolname when 'cgm_request' then ', member of authenticated alone' end, f.other),
           '; ' order by r.rolname)
    into wrong
    from pg_catalog.pg_roles r
   cross join lateral (
     select concat_ws(', ',
              case when r.rolsuper then 'superuser' end,
              case when r.rolbypassrls then 'passes row-level security' end,
              case when r.rolcanlogin then 'may log in' end,
              case when r.rolcreaterole then 'may make roles' end,
              case when r.rolcreatedb then 'may make databases' end,
              case when r.rolreplication then 'may replicate' end,
              case when r.rolname = 'cgm_request' and not r.rolinherit then 'inherits nothing' end,
              (select 'member of ' || string_agg(g.rolname, ', ' order by g.rolname)
                 from pg_catalog.pg_auth_members m
                 join pg_catalog.pg_roles g on g.oid = m.roleid
                where m.member = r.oid and not (r.rolname = 'cgm_request' and g.rolname = 'authenticated')))
   ) as f (other)
   where r.rolname in ('cgm_request', 'cgm_worker') and f.other <> '';
  if wrong is not null then
    raise exception 'roles of these names are something else, and nothing was changed: %', wrong;
  end if;
end
$$;

-- Functions, triggers and policies that are there, too. The four policies of the first form are told by their condition.
do $$
declare
  path text := current_setting('search_path');
  wrong text;
begin
  if to_regclass('cgm_private.sync_state') is null then
    raise exception 'table cgm_private.sync_state is missing: 20261124000002_cgm_private_state.sql comes first'
      using errcode = 'undefined_table';
  end if;

  perform set_config('search_path', '', true);
  with expected (kind, on_table, name, form) as (
    values
      -- expected
      ('function', '', 'cgm_private.check_reading_connection()', 'returns trigger language plpgsql volatile security definer set search_path="" body c4ad2ba71c3e22b9'),
      ('function', '', 'cgm_private.touch_updated_at()', 'returns trigger language plpgsql volatile set search_path="" body 0c1aa51b6324b91d'),
      ('policy', 'cgm_private.audit_events', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = audit_events.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.audit_events', '"cgm_worker may add events"', 'permissive for insert to cgm_worker with check true'),
      ('policy', 'cgm_private.audit_events', '"cgm_worker may read events"', 'permissive for select to cgm_worker using true'),
      ('policy', 'cgm_private.erased_persons', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.oauth_attempts', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.person_settings', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = person_settings.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.person_settings', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.provider_aliases', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.provider_pauses', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.quarantined_connections', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.reading_details', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = reading_details.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.reading_details', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.rejected_records', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = rejected_records.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.rejected_records', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.routes', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.sessions', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.sign_in_links', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.signing_keys', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.sync_runs', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = sync_runs.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.sync_runs', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.sync_state', '"Owners can view their persons"', 'permissive for select to cgm_request using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = sync_state.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'cgm_private.sync_state', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'cgm_private.vendor_budgets', '"cgm_worker may keep all"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'public."Person"', '"cgm_worker may see persons"', 'permissive for select to cgm_worker using true'),
      ('policy', 'public.cgm_connections', '"Users can delete own CGM connections"', 'permissive for delete to authenticated using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'public.cgm_connections', '"Users can insert own CGM connections"', 'permissive for insert to authenticated with check (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'public.cgm_connections', '"Users can update own CGM connections"', 'permissive for update to authenticated using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text)))) with check (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'public.cgm_connections', '"Users can view own CGM connections"', 'permissive for select to authenticated using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (( SELECT auth.uid() AS uid))::text))))'),
      ('policy', 'public.cgm_connections', '"cgm_worker may keep connections"', 'permissive for all to cgm_worker using true with check true'),
      ('policy', 'public.glucose_readings', '"cgm_worker may keep readings"', 'permissive for all to cgm_worker using true with check true'),
      ('trigger', 'public.cgm_connections', 'cgm_connections_updated_at', 'CREATE TRIGGER cgm_connections_updated_at BEFORE INSERT OR UPDATE ON public.cgm_connections FOR EACH ROW EXECUTE FUNCTION cgm_private.touch_updated_at()'),
      ('trigger', 'public.glucose_readings', 'glucose_readings_own_connection', 'CREATE TRIGGER glucose_readings_own_connection BEFORE INSERT OR UPDATE OF cgm_connection_id, person_id ON public.glucose_readings FOR EACH ROW WHEN ((new.cgm_connection_id IS NOT NULL)) EXECUTE FUNCTION cgm_private.check_reading_connection()')
      -- end of expected
  ),
  printed as (
    select e.*,
           case e.kind
             when 'function' then (
               select concat_ws(' ',
                        'returns', pg_catalog.pg_get_function_result(p.oid),
                        'language', (select l.lanname from pg_catalog.pg_language l where l.oid = p.prolang),
                        case p.provolatile when 's' then 'stable' when 'i' then 'immutable' else 'volatile' end,
                        case when p.prosecdef then 'security definer' end,
                        'set ' || array_to_string(p.proconfig, ', '),
                        'body ' || left(encode(sha256(convert_to(
                          regexp_replace(p.prosrc, '\s+', ' ', 'g'), 'UTF8')), 'hex'), 16))
                 from pg_catalog.pg_proc p
                where p.oid = to_regprocedure(e.name))
             when 'trigger' then (
               select concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid),
                        case t.tgenabled when 'D' then '(disabled)' when 'R' then '(replica)' when 'A' then '(always)' end)
                 from pg_catalog.pg_trigger t
                where t.tgrelid = to_regclass(e.on_table) and quote_ident(t.tgname) = e.name)
             when 'policy' then (
               select concat_ws(' ',
                        case when p.polpermissive then 'permissive' else 'restrictive' end,
                        'for',
                        case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update'
                                      when 'd' then 'delete' else 'all' end,
                        'to',
                        (select string_agg(case when r.oid = 0 then 'public' else pg_catalog.pg_get_userbyid(r.oid) end, ', ')
                           from unnest(p.polroles) as r (oid)),
                        'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                        'with check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
                 from pg_catalog.pg_policy p
                where p.polrelid = to_regclass(e.on_table) and quote_ident(p.polname) = e.name)
           end as has
      from expected e
  ),
  -- White space and an alias of "Person" make no difference.
  alike as (
    select p.*,
           regexp_replace(
             regexp_replace(
               regexp_replace(p.has, '\s+', ' ', 'g'),
               '\m' || coalesce(substring(p.has from 'FROM public\."Person" (\w+)\s+WHERE'), '"Person"') || '\.',
               '"Person".', 'g'),
             'FROM public\."Person" \w+ WHERE', 'FROM public."Person" WHERE', 'g') as canonical
      from printed p
  ),
  -- In the first form they were for everybody, called auth.uid() once a row, and said nothing of the new row.
  first_form as (
    select a.*,
           case when a.name like '"Users can % own CGM connections"' then
             regexp_replace(
               replace(replace(x.text, '( SELECT auth.uid() AS uid)', 'auth.uid()'), ' to authenticated ', ' to public '),
               '( for update .* using (.*)) with check \2$', '\1')
           else x.text end as text,
           x.expected
      from alike a
     cross join lateral (values (true, a.form), (false, a.canonical)) as x (expected, text)
  )
  select string_agg(format('%s %s: expected %s; found %s', e.kind, concat_ws(' ', nullif(e.on_table, ''), e.name), e.form,
                           e.has), '; ' order by e.kind, e.on_table, e.name)
    into wrong
    from first_form e
    join first_form f using (kind, on_table, name)
   where e.expected and not f.expected and e.text <> f.text;
  perform set_config('search_path', path, true);
  if wrong is not null then
    raise exception 'objects of these names have another form, and nothing was changed: %', wrong;
  end if;
end
$$;

-- Group roles. Roles belong to the whole server, so another database may create them at the same moment.
do $$
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
  if not pg_has_role('cgm_request', 'authenticated', 'usage') then
    grant authenticated to cgm_request;
  end if;
end
$$;

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

create or replace trigger glucose_readings_own_connection
  before insert or update of cgm_connection_id, person_id on public.glucose_readings
  for each row
  when (new.cgm_connection_id is not null)
  execute function cgm_private.check_reading_connection();

-- Schemas. What is granted in ours is exactly what follows.
do $$
declare
  s text;
  r text;
begin
  perform cgm_private.close_schema('cgm_private', 'cgm_request', 'cgm_worker');
  grant usage on schema cgm_private to cgm_request, cgm_worker;
  foreach s in array array['public', 'auth'] loop
    foreach r in array array['cgm_request', 'cgm_worker'] loop
      -- A Supabase project lends us its schema auth without the right to hand it on; cgm_request has it by authenticated.
      if not has_schema_privilege(r, s, 'usage') and has_schema_privilege(s, 'usage with grant option') then
        execute format('grant usage on schema %I to %I', s, r);
      end if;
    end loop;
  end loop;
end
$$;

revoke all on public."Person", public.cgm_connections, public.glucose_readings from cgm_request, cgm_worker;

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
          history_start, history_done_at, scans, refresh_until, generation, connected_at, created_at, updated_at)
on cgm_private.sync_state to cgm_request;

-- The service asks whether all migrations are in.
do $$
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    grant usage on schema supabase_migrations to cgm_worker;
    grant select (version, name) on supabase_migrations.schema_migrations to cgm_worker;
  end if;
end
$$;
