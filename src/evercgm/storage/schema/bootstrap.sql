set local lock_timeout = '5s';

-- What the host app would have made, for an empty database. Refuses where a host app is, or where an object of these names
-- has another form; then nothing is changed.
do $$
declare
  wrong text;
begin
  if to_regclass('auth.users') is not null then
    raise exception 'this database belongs to a Supabase project (auth.users exists): only "db migrate" is needed';
  end if;
  if to_regprocedure('auth.uid()') is not null
     and (select p.prorettype <> 'pg_catalog.uuid'::regtype
            from pg_catalog.pg_proc p
           where p.oid = to_regprocedure('auth.uid()')) then
    raise exception 'function auth.uid() exists and does not answer a uuid';
  end if;

  select string_agg(format('%s.%s is %s, expected %s', w.on_table, w.name, coalesce(h.type, 'missing'), w.type), '; ')
    into wrong
    from (values
           ('"Person"', 'id', 'text'), ('"Person"', 'ownerId', 'text'),
           ('glucose_readings', 'id', 'text'), ('glucose_readings', 'person_id', 'text'),
           ('glucose_readings', 'timestamp', 'timestamp(3) without time zone'),
           ('glucose_readings', 'value', 'double precision'), ('glucose_readings', 'device_id', 'text'),
           ('glucose_readings', 'confidence', 'double precision'),
           ('glucose_readings', 'created_at', 'timestamp(3) without time zone')
         ) as w (on_table, name, type)
    left join lateral (
           select pg_catalog.format_type(a.atttypid, a.atttypmod) as type
             from pg_catalog.pg_attribute a
            where a.attrelid = to_regclass('public.' || w.on_table) and a.attname = w.name and not a.attisdropped
         ) as h on true
   where to_regclass('public.' || w.on_table) is not null and h.type is distinct from w.type;
  if wrong is not null then
    raise exception 'tables of the host app exist in another form: %', wrong;
  end if;
end
$$;

create schema if not exists auth;

do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable set search_path = '' as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
      )::uuid
    $body$;
  end if;
  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable set search_path = '' as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
      )
    $body$;
  end if;
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable set search_path = '' as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
      )::jsonb
    $body$;
  end if;
end
$$;

grant usage on schema public, auth to anon, authenticated, service_role;

do $$
begin
  if to_regtype('public."GlucoseSource"') is null then
    create type public."GlucoseSource" as enum ('cgm', 'fingerstick', 'lab', 'interpolated');
  end if;

  if to_regclass('public."Person"') is null then
    create table public."Person" (
      id        text not null,
      "ownerId" text not null,
      constraint "Person_pkey" primary key (id)
    );
    create index "Person_ownerId_idx" on public."Person" ("ownerId");
    alter table public."Person" enable row level security;
    create policy "Owners can view own persons" on public."Person"
      for select
      to authenticated
      using ("ownerId" = (select auth.uid())::text);
    grant select (id, "ownerId") on public."Person" to authenticated;
    grant select, insert, update, delete on public."Person" to service_role;
  end if;

  if to_regclass('public.glucose_readings') is null then
    create table public.glucose_readings (
      id          text                   not null,
      person_id   text                   not null,
      "timestamp" timestamp(3)           not null,
      value       double precision       not null,
      source      public."GlucoseSource" not null,
      device_id   text,
      confidence  double precision,
      created_at  timestamp(3)           not null default current_timestamp,
      constraint glucose_readings_pkey primary key (id),
      constraint glucose_readings_person_id_fkey
        foreign key (person_id) references public."Person" (id) on delete cascade on update cascade
    );
    create index glucose_readings_person_id_timestamp_idx on public.glucose_readings (person_id, "timestamp");
    alter table public.glucose_readings enable row level security;
    create policy "Owners can view own readings" on public.glucose_readings
      for select
      to authenticated
      using (exists (
        select 1 from public."Person" p
         where p.id = glucose_readings.person_id and p."ownerId" = (select auth.uid())::text));
    grant select on public.glucose_readings to authenticated;
    grant select, insert, update, delete on public.glucose_readings to service_role;
  end if;
end
$$;
