set local lock_timeout = '5s';

-- From the staging form to the production form: provider becomes an enum, metadata and two indexes are added.
-- Setting cgm.unknown: 'abort' stops at a provider that no alias names; 'quarantine' (also without the setting) puts such
-- rows aside, whole, in cgm_private.quarantined_connections.

create schema if not exists cgm_private;
revoke all on schema cgm_private from public;

create table if not exists cgm_private.provider_aliases (
  alias    text not null primary key,
  provider text not null
);
alter table cgm_private.provider_aliases enable row level security;

insert into cgm_private.provider_aliases (alias, provider)
values
  ('dexcom', 'dexcom'), ('dexcom g5', 'dexcom'), ('dexcom g6', 'dexcom'), ('dexcom g7', 'dexcom'),
  ('dexcom one', 'dexcom'), ('dexcom one+', 'dexcom'), ('dexcom share', 'dexcom'), ('dexcom clarity', 'dexcom'),
  ('libre', 'libre'), ('libre 2', 'libre'), ('libre 3', 'libre'), ('libre2', 'libre'), ('libre3', 'libre'),
  ('freestyle', 'libre'), ('freestyle libre', 'libre'), ('freestyle libre 2', 'libre'), ('freestyle libre 3', 'libre'),
  ('librelinkup', 'libre'), ('librelink', 'libre'), ('libreview', 'libre'),
  ('abbott', 'abbott'),
  ('medtronic', 'medtronic'), ('medtronic guardian', 'medtronic'), ('guardian', 'medtronic'),
  ('carelink', 'medtronic'), ('medtronic carelink', 'medtronic'), ('minimed', 'medtronic')
on conflict (alias) do nothing;

create table if not exists cgm_private.quarantined_connections (
  id          text        not null primary key,
  person_id   text        not null,
  connection  jsonb       not null,
  reading_ids text[]      not null default '{}',
  reason      text        not null check (reason in ('second_spelling', 'unknown_provider')),
  kept_id     text,
  created_at  timestamptz not null default now(),
  constraint quarantined_connections_person_id_fkey
    foreign key (person_id) references public."Person" (id) on delete cascade on update cascade
);
create index if not exists quarantined_connections_person_id_idx on cgm_private.quarantined_connections (person_id);
alter table cgm_private.quarantined_connections enable row level security;

-- The enum. A label more or less than these four is a decision for people: the host's client fails on unknown labels.
do $$
declare
  labels text[];
begin
  if to_regtype('public."CGMProvider"') is null then
    create type public."CGMProvider" as enum ('dexcom', 'libre', 'abbott', 'medtronic');
  end if;

  select array_agg(e.enumlabel::text order by e.enumsortorder)
    into labels
    from pg_catalog.pg_enum e
   where e.enumtypid = to_regtype('public."CGMProvider"');
  if labels is distinct from array['dexcom', 'libre', 'abbott', 'medtronic'] then
    raise exception 'enum "CGMProvider" has the labels %', labels
      using hint = 'expected dexcom, libre, abbott, medtronic, in this order';
  end if;
end
$$;

do $$
declare
  found text;
begin
  select pg_catalog.format_type(a.atttypid, a.atttypmod)
    into found
    from pg_catalog.pg_attribute a
   where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'metadata' and not a.attisdropped;
  if found is null then
    alter table public.cgm_connections add column metadata jsonb;
  elsif found <> 'jsonb' then
    raise exception 'column cgm_connections.metadata is %, expected jsonb', found;
  end if;
end
$$;

-- The conversion of provider, all or nothing.
do $$
declare
  blockers text;
  unknown text;
  choice text := coalesce(nullif(current_setting('cgm.unknown', true), ''), 'quarantine');
  count_before bigint;
  count_kept bigint;
  count_aside bigint;
begin
  if (select a.atttypid <> 'pg_catalog.text'::regtype
        from pg_catalog.pg_attribute a
       where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'provider') then
    return;
  end if;
  if choice not in ('abort', 'quarantine') then
    raise exception 'setting cgm.unknown is %, expected abort or quarantine', choice;
  end if;

  lock table public.cgm_connections, public.glucose_readings in access exclusive mode;

  select string_agg(distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ', ')
    into blockers
    from pg_catalog.pg_depend d
    join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
   where d.refclassid = 'pg_catalog.pg_class'::regclass
     and d.refobjid = 'public.cgm_connections'::regclass
     and a.attname = 'provider'
     and d.classid in ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_policy'::regclass);
  if blockers is not null then
    raise exception 'provider cannot become an enum while these use it: %', blockers
      using errcode = '0A000', hint = 'drop them, migrate, and create them again';
  end if;

  create temporary table cgm_conversion on commit drop as
  select c.id,
         c.person_id,
         c.provider as original,
         a.provider,
         first_value(c.id) over (
           partition by c.person_id, a.provider
           order by (c.status = 'connected') desc, c.last_sync_at desc nulls last, c.updated_at desc, c.id
         ) as kept_id
    from public.cgm_connections c
    left join cgm_private.provider_aliases a
           on a.alias = btrim(regexp_replace(lower(c.provider), '\s+', ' ', 'g'));
  get diagnostics count_before = row_count;

  select string_agg(format('%s (%L)', t.id, t.original), ', ' order by t.id)
    into unknown
    from pg_temp.cgm_conversion t
   where t.provider is null;
  if unknown is not null and choice = 'abort' then
    raise exception 'no alias names the provider of these connections: %', unknown
      using hint = 'add aliases to cgm_private.provider_aliases, or migrate with --unknown=quarantine';
  end if;

  insert into cgm_private.quarantined_connections (id, person_id, connection, reading_ids, reason, kept_id)
  select c.id,
         c.person_id,
         to_jsonb(c),
         coalesce((select array_agg(r.id order by r.id)
                     from public.glucose_readings r
                    where r.cgm_connection_id = c.id), '{}'),
         case when t.provider is null then 'unknown_provider' else 'second_spelling' end,
         case when t.provider is not null then t.kept_id end
    from pg_temp.cgm_conversion t
    join public.cgm_connections c on c.id = t.id
   where t.provider is null or t.kept_id <> t.id;
  get diagnostics count_aside = row_count;

  update public.glucose_readings r
     set cgm_connection_id = t.kept_id
    from pg_temp.cgm_conversion t
   where r.cgm_connection_id = t.id and t.provider is not null and t.kept_id <> t.id;

  delete from public.cgm_connections c
   using pg_temp.cgm_conversion t
   where c.id = t.id and (t.provider is null or t.kept_id <> t.id);

  update public.cgm_connections c
     set provider = t.provider,
         metadata = case when jsonb_typeof(c.metadata) = 'object' then c.metadata else '{}'::jsonb end
                    || jsonb_build_object('providerOriginal', t.original)
    from pg_temp.cgm_conversion t
   where c.id = t.id and t.original <> t.provider;

  alter table public.cgm_connections
    alter column provider type public."CGMProvider" using provider::public."CGMProvider";

  select count(*) into count_kept from public.cgm_connections;
  if count_before <> count_kept + count_aside then
    raise exception 'connections before % are not kept % and quarantined %', count_before, count_kept, count_aside;
  end if;
  if count_aside > 0 then
    raise notice '% connections kept, % put aside in cgm_private.quarantined_connections', count_kept, count_aside;
  end if;
  drop table pg_temp.cgm_conversion;
end
$$;

do $$
declare
  w record;
  found text;
begin
  perform set_config('search_path', '', true);
  for w in
    select *
      from (values
             ('cgm_connections_last_sync_at_idx',
              'CREATE INDEX cgm_connections_last_sync_at_idx ON public.cgm_connections USING btree (last_sync_at)'),
             ('cgm_connections_person_id_status_idx',
              'CREATE INDEX cgm_connections_person_id_status_idx ON public.cgm_connections USING btree (person_id, status)')
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
