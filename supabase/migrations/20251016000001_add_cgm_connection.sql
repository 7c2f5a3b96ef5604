set local lock_timeout = '5s';

-- The CGM objects of October 2025 in their first form, each only where it is missing. Objects that are there already are
-- compared by definition: another definition under the same name stops the file, and nothing is changed.

-- The states of a connection.
do $$
declare
  labels text[];
begin
  if to_regtype('public."CGMConnectionStatus"') is null then
    create type public."CGMConnectionStatus" as enum ('connected', 'disconnected', 'error', 'expired');
  end if;

  select array_agg(e.enumlabel::text order by e.enumsortorder)
    into labels
    from pg_catalog.pg_enum e
   where e.enumtypid = to_regtype('public."CGMConnectionStatus"');
  if labels is distinct from array['connected', 'disconnected', 'error', 'expired'] then
    raise exception 'enum "CGMConnectionStatus" has the labels %', labels
      using hint = 'expected connected, disconnected, error, expired, in this order';
  end if;
end
$$;

-- The table of connections.
do $$
declare
  wrong text;
begin
  if to_regclass('public.cgm_connections') is null then
    create table public.cgm_connections (
      id               text                         not null,
      person_id        text                         not null,
      provider         text                         not null,
      access_token     text                         not null,
      refresh_token    text                         not null,
      token_expires_at timestamp(3)                 not null,
      status           public."CGMConnectionStatus" not null default 'connected',
      error_message    text,
      device_id        text,
      last_sync_at     timestamp(3),
      sync_cursor      text,
      created_at       timestamp(3)                 not null default current_timestamp,
      updated_at       timestamp(3)                 not null,
      constraint cgm_connections_pkey primary key (id)
    );
  end if;

  perform set_config('search_path', '', true);
  select string_agg(format('%s is %s, expected %s', w.name, coalesce(h.type, 'missing'), w.types), '; ')
    into wrong
    from (values
           ('id', '{text}'::text[]), ('person_id', '{text}'), ('provider', array['text', 'public."CGMProvider"']),
           ('access_token', '{text}'), ('refresh_token', '{text}'),
           ('token_expires_at', array['timestamp(3) without time zone']),
           ('status', array['public."CGMConnectionStatus"']), ('error_message', '{text}'), ('device_id', '{text}'),
           ('last_sync_at', array['timestamp(3) without time zone']), ('sync_cursor', '{text}'),
           ('created_at', array['timestamp(3) without time zone']),
           ('updated_at', array['timestamp(3) without time zone'])
         ) as w (name, types)
    left join (
           select a.attname::text as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type
             from pg_catalog.pg_attribute a
            where a.attrelid = 'public.cgm_connections'::regclass and a.attnum > 0 and not a.attisdropped
         ) as h on h.name = w.name
   where h.type is null or h.type <> all (w.types);
  if wrong is not null then
    raise exception 'table cgm_connections has another form: %', wrong;
  end if;
end
$$;

-- The column on the readings.
do $$
begin
  if not exists (
    select from pg_catalog.pg_attribute a
     where a.attrelid = 'public.glucose_readings'::regclass and a.attname = 'cgm_connection_id' and not a.attisdropped
  ) then
    alter table public.glucose_readings add column cgm_connection_id text;
  end if;
end
$$;

-- Foreign keys: a person takes their connections along; a connection leaves its readings behind.
do $$
declare
  wrong text;
begin
  if not exists (
    select from pg_catalog.pg_constraint c
     where c.conrelid = 'public.cgm_connections'::regclass and c.conname = 'cgm_connections_person_id_fkey'
  ) then
    alter table public.cgm_connections
      add constraint cgm_connections_person_id_fkey
      foreign key (person_id) references public."Person" (id) on delete cascade on update cascade;
  end if;
  if not exists (
    select from pg_catalog.pg_constraint c
     where c.conrelid = 'public.glucose_readings'::regclass and c.conname = 'glucose_readings_cgm_connection_id_fkey'
  ) then
    alter table public.glucose_readings
      add constraint glucose_readings_cgm_connection_id_fkey
      foreign key (cgm_connection_id) references public.cgm_connections (id) on delete set null on update cascade;
  end if;

  select string_agg(format('%s: %s', c.conname, pg_catalog.pg_get_constraintdef(c.oid)), '; ')
    into wrong
    from (values
           ('public.cgm_connections'::regclass, 'cgm_connections_person_id_fkey', 'public."Person"'::regclass, 'c'),
           ('public.glucose_readings'::regclass, 'glucose_readings_cgm_connection_id_fkey',
            'public.cgm_connections'::regclass, 'n')
         ) as w (on_table, name, target, on_delete)
    join pg_catalog.pg_constraint c on c.conrelid = w.on_table and c.conname = w.name
   where c.contype <> 'f' or c.confrelid <> w.target or c.confdeltype::text <> w.on_delete;
  if wrong is not null then
    raise exception 'a foreign key has another definition: %', wrong;
  end if;
end
$$;

-- Indexes.
do $$
declare
  w record;
  found text;
begin
  perform set_config('search_path', '', true);
  for w in
    select *
      from (values
             ('cgm_connections_person_id_provider_key',
              'CREATE UNIQUE INDEX cgm_connections_person_id_provider_key ON public.cgm_connections USING btree (person_id, provider)'),
             ('cgm_connections_person_id_idx',
              'CREATE INDEX cgm_connections_person_id_idx ON public.cgm_connections USING btree (person_id)'),
             ('cgm_connections_status_idx',
              'CREATE INDEX cgm_connections_status_idx ON public.cgm_connections USING btree (status)'),
             ('glucose_readings_cgm_connection_id_idx',
              'CREATE INDEX glucose_readings_cgm_connection_id_idx ON public.glucose_readings USING btree (cgm_connection_id)')
           ) as v (name, definition)
  loop
    if to_regclass('public.' || w.name) is null then
      execute w.definition;
    end if;
    found := pg_catalog.pg_get_indexdef(('public.' || w.name)::regclass);
    if found is distinct from w.definition then
      raise exception 'index % has another definition: %', w.name, found
        using hint = 'expected ' || w.definition;
    end if;
  end loop;
end
$$;

-- Row-level security: a person's owner sees and changes that person's connections.
do $$
begin
  if not (select c.relrowsecurity from pg_catalog.pg_class c where c.oid = 'public.cgm_connections'::regclass) then
    alter table public.cgm_connections enable row level security;
  end if;

  if not exists (
    select from pg_catalog.pg_policy p
     where p.polrelid = 'public.cgm_connections'::regclass and p.polname = 'Users can view own CGM connections'
  ) then
    create policy "Users can view own CGM connections" on public.cgm_connections
      for select
      using (exists (
        select 1 from public."Person" p where p.id = cgm_connections.person_id and p."ownerId" = auth.uid()::text));
  end if;
  if not exists (
    select from pg_catalog.pg_policy p
     where p.polrelid = 'public.cgm_connections'::regclass and p.polname = 'Users can insert own CGM connections'
  ) then
    create policy "Users can insert own CGM connections" on public.cgm_connections
      for insert
      with check (exists (
        select 1 from public."Person" p where p.id = cgm_connections.person_id and p."ownerId" = auth.uid()::text));
  end if;
  if not exists (
    select from pg_catalog.pg_policy p
     where p.polrelid = 'public.cgm_connections'::regclass and p.polname = 'Users can update own CGM connections'
  ) then
    create policy "Users can update own CGM connections" on public.cgm_connections
      for update
      using (exists (
        select 1 from public."Person" p where p.id = cgm_connections.person_id and p."ownerId" = auth.uid()::text));
  end if;
  if not exists (
    select from pg_catalog.pg_policy p
     where p.polrelid = 'public.cgm_connections'::regclass and p.polname = 'Users can delete own CGM connections'
  ) then
    create policy "Users can delete own CGM connections" on public.cgm_connections
      for delete
      using (exists (
        select 1 from public."Person" p where p.id = cgm_connections.person_id and p."ownerId" = auth.uid()::text));
  end if;
end
$$;
