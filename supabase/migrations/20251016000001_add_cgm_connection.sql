set local lock_timeout = '5s';
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;  -- the catalog's words are compared with those of this file

-- The CGM objects of October 2025 in their first form, each only where it is missing. Objects that are there already are
-- compared first, in the catalog's own words: another form under one of our names stops the file before anything changes.
-- What the host app has besides (columns, indexes, policies) stays.

do $$
declare
  path text := current_setting('search_path');
  wrong text;
begin
  if to_regclass('public."Person"') is null or to_regclass('public.glucose_readings') is null then
    raise exception 'table public."Person" or public.glucose_readings is missing: the host app makes them'
      using errcode = 'undefined_table', hint = 'on an empty PostgreSQL, first: evercgm db bootstrap --standalone';
  end if;

  -- With an empty path the catalog prints every name with its schema.
  perform set_config('search_path', '', true);
  with expected (kind, on_table, name, form) as (
    values
      -- expected
      ('column', 'public.cgm_connections', 'access_token', 'text not null'),
      ('column', 'public.cgm_connections', 'created_at', 'timestamp(3) without time zone not null default CURRENT_TIMESTAMP'),
      ('column', 'public.cgm_connections', 'device_id', 'text'),
      ('column', 'public.cgm_connections', 'error_message', 'text'),
      ('column', 'public.cgm_connections', 'id', 'text not null'),
      ('column', 'public.cgm_connections', 'last_sync_at', 'timestamp(3) without time zone'),
      ('column', 'public.cgm_connections', 'person_id', 'text not null'),
      ('column', 'public.cgm_connections', 'provider', 'text not null'),
      ('column', 'public.cgm_connections', 'refresh_token', 'text not null'),
      ('column', 'public.cgm_connections', 'status', 'public."CGMConnectionStatus" not null default ''connected''::public."CGMConnectionStatus"'),
      ('column', 'public.cgm_connections', 'sync_cursor', 'text'),
      ('column', 'public.cgm_connections', 'token_expires_at', 'timestamp(3) without time zone not null'),
      ('column', 'public.cgm_connections', 'updated_at', 'timestamp(3) without time zone not null'),
      ('column', 'public.glucose_readings', 'cgm_connection_id', 'text'),
      ('constraint', 'public.cgm_connections', 'cgm_connections_person_id_fkey', 'FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON UPDATE CASCADE ON DELETE CASCADE'),
      ('constraint', 'public.cgm_connections', 'cgm_connections_pkey', 'PRIMARY KEY (id)'),
      ('constraint', 'public.glucose_readings', 'glucose_readings_cgm_connection_id_fkey', 'FOREIGN KEY (cgm_connection_id) REFERENCES public.cgm_connections(id) ON UPDATE CASCADE ON DELETE SET NULL'),
      ('enum', '', 'public."CGMConnectionStatus"', '''connected'', ''disconnected'', ''error'', ''expired'''),
      ('index', 'public.cgm_connections', 'cgm_connections_person_id_idx', 'CREATE INDEX cgm_connections_person_id_idx ON public.cgm_connections USING btree (person_id)'),
      ('index', 'public.cgm_connections', 'cgm_connections_person_id_provider_key', 'CREATE UNIQUE INDEX cgm_connections_person_id_provider_key ON public.cgm_connections USING btree (person_id, provider)'),
      ('index', 'public.cgm_connections', 'cgm_connections_status_idx', 'CREATE INDEX cgm_connections_status_idx ON public.cgm_connections USING btree (status)'),
      ('index', 'public.glucose_readings', 'glucose_readings_cgm_connection_id_idx', 'CREATE INDEX glucose_readings_cgm_connection_id_idx ON public.glucose_readings USING btree (cgm_connection_id)'),
      ('policy', 'public.cgm_connections', '"Users can delete own CGM connections"', 'permissive for delete to public using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (auth.uid())::text))))'),
      ('policy', 'public.cgm_connections', '"Users can insert own CGM connections"', 'permissive for insert to public with check (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (auth.uid())::text))))'),
      ('policy', 'public.cgm_connections', '"Users can update own CGM connections"', 'permissive for update to public using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (auth.uid())::text))))'),
      ('policy', 'public.cgm_connections', '"Users can view own CGM connections"', 'permissive for select to public using (EXISTS ( SELECT 1 FROM public."Person" WHERE (("Person".id = cgm_connections.person_id) AND ("Person"."ownerId" = (auth.uid())::text))))'),
      -- end of expected
      ('type', 'public."Person"', 'id', 'text'),
      ('type', 'public."Person"', '"ownerId"', 'text'),
      ('type', 'public.glucose_readings', 'id', 'text')
  ),
  printed as (
    select e.*,
           case e.kind
             when 'enum' then (
               select coalesce(string_agg(quote_literal(l.enumlabel), ', ' order by l.enumsortorder), 'no enum')
                 from pg_catalog.pg_type t
                 left join pg_catalog.pg_enum l on l.enumtypid = t.oid
                where t.oid = to_regtype(e.name)
               having count(*) > 0)
             when 'type' then (
               select pg_catalog.format_type(a.atttypid, a.atttypmod)
                 from pg_catalog.pg_attribute a
                where a.attrelid = to_regclass(e.on_table) and quote_ident(a.attname) = e.name and not a.attisdropped)
             when 'column' then (
               select concat_ws(' ',
                        pg_catalog.format_type(a.atttypid, a.atttypmod),
                        (select format('collate %I', o.collname)
                           from pg_catalog.pg_collation o
                           join pg_catalog.pg_type y on y.oid = a.atttypid
                          where o.oid = a.attcollation and o.oid <> y.typcollation),
                        case when a.attnotnull then 'not null' end,
                        case when a.attidentity <> '' then 'identity' end,
                        case when a.attgenerated <> '' then 'generated as' when d.adbin is not null then 'default' end,
                        pg_catalog.pg_get_expr(d.adbin, d.adrelid))
                 from pg_catalog.pg_attribute a
                 left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                where a.attrelid = to_regclass(e.on_table) and quote_ident(a.attname) = e.name and not a.attisdropped)
             when 'constraint' then (
               select pg_catalog.pg_get_constraintdef(o.oid)
                 from pg_catalog.pg_constraint o
                where o.conrelid = to_regclass(e.on_table) and quote_ident(o.conname) = e.name)
             when 'index' then (
               select concat_ws(' ',
                        -- The catalog says ONLY where a table is in parts.
                        coalesce(replace(pg_catalog.pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON '), 'no index'),
                        case when not x.indisvalid then '(invalid)' end,
                        case when not x.indimmediate then '(deferrable)' end)
                 from pg_catalog.pg_class c
                 left join pg_catalog.pg_index x on x.indexrelid = c.oid
                where c.relnamespace = 'public'::regnamespace and quote_ident(c.relname) = e.name)
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
  -- A policy may name "Person" by an alias, call auth.uid() once a query instead of once a row, be for authenticated alone,
  -- and say its condition again for the new row: that is how a later migration writes it.
  alike as (
    select p.*,
           case when p.kind = 'policy' then
             regexp_replace(
               regexp_replace(
                 regexp_replace(
                   replace(
                     replace(regexp_replace(p.has, '\s+', ' ', 'g'), '( SELECT auth.uid() AS uid)', 'auth.uid()'),
                     ' to authenticated ', ' to public '),
                   '\m' || coalesce(substring(p.has from 'FROM public\."Person" (\w+)\s+WHERE'), '"Person"') || '\.',
                   '"Person".', 'g'),
                 'FROM public\."Person" \w+ WHERE', 'FROM public."Person" WHERE', 'g'),
               '( for update .* using (.*)) with check \2$', '\1')
           when p.name = 'provider' and p.has = 'public."CGMProvider" not null' then p.form
           else p.has end as canonical
      from printed p
  )
  select string_agg(format('%s %s: expected %s; found %s', kind, concat_ws('.', nullif(on_table, ''), name), form,
                           coalesce(has, 'nothing')), '; ' order by kind, on_table, name)
    into wrong
    from alike
   where canonical <> form
         -- What is missing will be made, but not the parts of a table that is there.
      or has is null
         and (kind = 'type'
              or to_regclass('public.cgm_connections') is not null
                 and on_table = 'public.cgm_connections' and (kind = 'column' or name = 'cgm_connections_pkey'));
  perform set_config('search_path', path, true);
  if wrong is not null then
    raise exception 'objects of these names have another form, and nothing was changed: %', wrong;
  end if;
end
$$;

-- The states of a connection.
do $$
begin
  if to_regtype('public."CGMConnectionStatus"') is null then
    create type public."CGMConnectionStatus" as enum ('connected', 'disconnected', 'error', 'expired');
  end if;
end
$$;

create table if not exists public.cgm_connections (
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

-- Tables that are there are not locked to find out that nothing is to be done.
do $$
begin
  if not exists (
    select from pg_catalog.pg_attribute a
     where a.attrelid = 'public.glucose_readings'::regclass and a.attname = 'cgm_connection_id' and not a.attisdropped
  ) then
    alter table public.glucose_readings add column cgm_connection_id text;
  end if;

  -- A person takes their connections along; a connection leaves its readings behind.
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

  if to_regclass('public.cgm_connections_person_id_provider_key') is null then
    create unique index cgm_connections_person_id_provider_key on public.cgm_connections (person_id, provider);
  end if;
  if to_regclass('public.cgm_connections_person_id_idx') is null then
    create index cgm_connections_person_id_idx on public.cgm_connections (person_id);
  end if;
  if to_regclass('public.cgm_connections_status_idx') is null then
    create index cgm_connections_status_idx on public.cgm_connections (status);
  end if;
  if to_regclass('public.glucose_readings_cgm_connection_id_idx') is null then
    create index glucose_readings_cgm_connection_id_idx on public.glucose_readings (cgm_connection_id);
  end if;
end
$$;

-- Row-level security: a person's owner sees and changes that person's connections.
do $$
declare
  policy record;
begin
  if not (select c.relrowsecurity from pg_catalog.pg_class c where c.oid = 'public.cgm_connections'::regclass) then
    alter table public.cgm_connections enable row level security;
  end if;

  for policy in
    select *
      from (values
             ('Users can view own CGM connections', 'select', 'using'),
             ('Users can insert own CGM connections', 'insert', 'with check'),
             ('Users can update own CGM connections', 'update', 'using'),
             ('Users can delete own CGM connections', 'delete', 'using')
           ) as v (name, command, clause)
     where not exists (
       select from pg_catalog.pg_policy p where p.polrelid = 'public.cgm_connections'::regclass and p.polname = v.name)
  loop
    execute format(
      'create policy %I on public.cgm_connections for %s %s (exists ('
      'select 1 from public."Person" where "Person".id = cgm_connections.person_id and "Person"."ownerId" = auth.uid()::text))',
      policy.name, policy.command, policy.clause);
  end loop;
end
$$;
