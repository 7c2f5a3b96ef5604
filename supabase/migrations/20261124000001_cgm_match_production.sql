set local lock_timeout = '5s';
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;

-- From the staging form to the production form: provider becomes an enum, metadata and two indexes are added.
-- Setting cgm.unknown: 'abort' stops at a provider that no alias names; 'quarantine' (also without the setting) puts such
-- rows aside, whole, in cgm_private.quarantined_connections. Back again: supabase/rollbacks, the file of this name.

create schema if not exists cgm_private;

-- Takes back whatever is granted on a schema of ours, by the project's default privileges or by hand: to everybody, to the
-- roles of Supabase's API, and to those named besides. What is meant is granted after it.
create or replace function cgm_private.close_schema(named text, variadic besides text[] default '{}')
returns void
language plpgsql
set search_path = ''
as $$
declare
  kind text;
  everybody text;
begin
  select string_agg(format(', %I', r.rolname), '' order by r.rolname)
    into everybody
    from pg_catalog.pg_roles r
   where r.rolname = any (array['anon', 'authenticated', 'service_role'] || besides);
  foreach kind in array array['', 'all tables in ', 'all sequences in ', 'all functions in '] loop
    execute format('revoke all on %sschema %I from public%s', kind, named, everybody);
  end loop;
end
$$;

-- Names in a message: the first twenty, and how many more there are. Control characters are written as JSON writes them, so
-- that no name makes a line of its own.
create or replace function cgm_private.first_of(names text[])
returns text
language sql
stable
set search_path = ''
as $$
  select string_agg(
           case when n.name ~ k.control then regexp_replace(to_jsonb(n.name)::text, k.control, '?', 'g') else n.name end,
           ', ' order by n.place)
         || case when cardinality(names) > 20 then format(' and %s more', cardinality(names) - 20) else '' end
    from unnest(names[:20]) with ordinality as n (name, place)
   cross join (values (E'[\\u0001-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069]')) as k (control)
$$;

-- How a table differs from what a migration makes, for people; null where it does not, or is not there. What is expected
-- is written in the catalog's own words, divided by ";". There may be more indexes; unless "complete", some may be missing.
create or replace function cgm_private.other_form(named text, expected text, complete boolean default false)
returns text
language sql
stable
set search_path = ''
as $$
  with wanted as (
    select regexp_replace(btrim(w.item, E' \n'), '[[:space:]]+', ' ', 'g') as item
      from regexp_split_to_table(expected, ';') as w (item)
  ),
  printed as (
    select 'column' as kind,
           concat_ws(' ',
             quote_ident(a.attname),
             pg_catalog.format_type(a.atttypid, a.atttypmod),
             (select format('collate %I', o.collname)
                from pg_catalog.pg_collation o
                join pg_catalog.pg_type y on y.oid = a.atttypid
               where o.oid = a.attcollation and o.oid <> y.typcollation),
             case when a.attnotnull then 'not null' end,
             case when a.attidentity <> '' then 'identity' end,
             case when a.attgenerated <> '' then 'generated as' when d.adbin is not null then 'default' end,
             pg_catalog.pg_get_expr(d.adbin, d.adrelid)) as item
      from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = to_regclass(named) and a.attnum > 0 and not a.attisdropped
    union all
    select 'constraint', concat_ws(' ', quote_ident(o.conname), pg_catalog.pg_get_constraintdef(o.oid))
      from pg_catalog.pg_constraint o
     where o.conrelid = to_regclass(named) and o.contype in ('p', 'f', 'c', 'x') and o.conparentid = 0
    union all
    select 'index',
           concat_ws(' ',
             pg_catalog.pg_get_indexdef(x.indexrelid),
             case when not x.indisvalid then '(invalid)' end,
             case when not x.indimmediate then '(deferrable)' end)
      from pg_catalog.pg_index x
     where x.indrelid = to_regclass(named) and not x.indisprimary
  ),
  found as (
    select p.kind, regexp_replace(p.item, '[[:space:]]+', ' ', 'g') as item from printed p
  ),
  -- An index is known by its name, wherever it stands.
  indexes as (
    select w.item,
           to_regclass(split_part(named, '.', 1) || '.' || substring(w.item from '^CREATE (?:UNIQUE )?INDEX ([^ ]+) ON ')) as is
      from wanted w
     where w.item ~ '^CREATE (UNIQUE )?INDEX '
  ),
  lacking as (
    select w.item
      from wanted w
     where not exists (select from found f where f.item = w.item)
       and (complete or not exists (select from indexes i where i.item = w.item and i.is is null))
  ),
  besides as (
    select f.item
      from found f
     where not exists (select from wanted w where w.item = f.item)
       and (f.kind <> 'index' or exists (
              select from indexes i
               where i.is = to_regclass(split_part(named, '.', 1) || '.' || substring(f.item from ' INDEX ([^ ]+) ON '))))
  )
  select format('table %s: expected %s; found %s', named,
                coalesce((select string_agg(l.item, ', ' order by l.item) from lacking l), 'nothing more'),
                coalesce((select string_agg(b.item, ', ' order by b.item) from besides b), 'nothing'))
   where to_regclass(named) is not null
     and (exists (select from lacking) or exists (select from besides))
$$;

-- Whatever would stand in the way of another type of cgm_connections.provider, named for people; null where nothing does.
create or replace function cgm_private.users_of_provider()
returns text
language sql
stable
set search_path = ''
as $$
  with provider as (
    select a.attrelid as on_table, a.attnum as place
      from pg_catalog.pg_attribute a
     where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'provider'
  ),
  users (name) as (
    select case
             when r.oid is not null then
               format('%s %s',
                      case v.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'a rule on table' end,
                      v.oid::regclass)
             when g.attname is not null then format('generated column %I of table %s', g.attname, g.attrelid::regclass)
             else pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
           end
      from provider p
      join pg_catalog.pg_depend d
           on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = p.on_table and d.refobjsubid = p.place
      left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::regclass and r.oid = d.objid
      left join pg_catalog.pg_class v on v.oid = r.ev_class
      left join pg_catalog.pg_attrdef e on d.classid = 'pg_catalog.pg_attrdef'::regclass and e.oid = d.objid
      left join pg_catalog.pg_attribute g
           on g.attgenerated <> ''
          and (g.attrelid = e.adrelid and g.attnum = e.adnum
               or d.classid = 'pg_catalog.pg_class'::regclass and g.attrelid = d.objid and g.attnum = d.objsubid)
     -- Plain indexes, keys and statistics are made again by themselves.
     where not exists (
             select from pg_catalog.pg_index x
              where d.classid = 'pg_catalog.pg_class'::regclass and x.indexrelid = d.objid
                and x.indexprs is null and x.indpred is null)
       and not exists (
             select from pg_catalog.pg_constraint o
              where d.classid = 'pg_catalog.pg_constraint'::regclass and o.oid = d.objid and o.contype in ('p', 'u', 'n'))
       and d.classid <> 'pg_catalog.pg_statistic_ext'::regclass
    union
    select format('column %I of table %s, which holds whole rows', a.attname, c.oid::regclass)
      from provider p
      join pg_catalog.pg_type t on t.typrelid = p.on_table
      join pg_catalog.pg_attribute a on a.atttypid in (t.oid, t.typarray) and not a.attisdropped
      join pg_catalog.pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'm', 'p')
    union
    select format('table %s, which inherits', i.inhrelid::regclass)
      from provider p
      join pg_catalog.pg_inherits i on p.on_table in (i.inhparent, i.inhrelid)
  )
  select string_agg(u.name, ', ' order by u.name) from users u
$$;

-- What is there is compared before anything is changed.
do $$
declare
  path text := current_setting('search_path');
  wrong text;
begin
  if to_regclass('public.cgm_connections') is null then
    raise exception 'table public.cgm_connections is missing: 20251016000001_add_cgm_connection.sql comes first'
      using errcode = 'undefined_table';
  end if;

  perform set_config('search_path', '', true);
  with expected (kind, on_table, name, form) as (
    values
      -- expected
      ('column', 'public.cgm_connections', 'metadata', 'jsonb'),
      ('column', 'public.cgm_connections', 'provider', 'public."CGMProvider" not null'),
      ('enum', '', 'public."CGMProvider"', '''dexcom'', ''libre'', ''abbott'', ''medtronic'''),
      ('index', 'public.cgm_connections', 'cgm_connections_last_sync_at_idx', 'CREATE INDEX cgm_connections_last_sync_at_idx ON public.cgm_connections USING btree (last_sync_at)'),
      ('index', 'public.cgm_connections', 'cgm_connections_person_id_status_idx', 'CREATE INDEX cgm_connections_person_id_status_idx ON public.cgm_connections USING btree (person_id, status)'),
      ('table', 'cgm_private.provider_aliases', '',
       'alias text not null; provider text not null; provider_aliases_pkey PRIMARY KEY (alias);
        provider_aliases_provider_check CHECK ((provider = ANY (ARRAY[''dexcom''::text, ''libre''::text,
        ''abbott''::text, ''medtronic''::text])))'),
      ('table', 'cgm_private.quarantined_connections', '',
       'connection jsonb not null; created_at timestamp with time zone not null default now(); id text not null;
        kept_id text; person_id text not null; reading_ids text[] not null default ''{}''::text[]; reason text not
        null; quarantined_connections_person_id_fkey FOREIGN KEY (person_id) REFERENCES public."Person"(id) ON UPDATE
        CASCADE ON DELETE CASCADE; quarantined_connections_pkey PRIMARY KEY (id); quarantined_connections_reason_check
        CHECK ((reason = ANY (ARRAY[''second_spelling''::text, ''unknown_provider''::text]))); CREATE INDEX
        quarantined_connections_person_id_idx ON cgm_private.quarantined_connections USING btree (person_id)')
      -- end of expected
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
             when 'column' then (
               select concat_ws(' ',
                        pg_catalog.format_type(a.atttypid, a.atttypmod),
                        (select format('collate %I', o.collname)
                           from pg_catalog.pg_collation o
                           join pg_catalog.pg_type y on y.oid = a.atttypid
                          where o.oid = a.attcollation and o.oid <> y.typcollation),
                        case when a.attnotnull then 'not null' end,
                        case when a.attgenerated <> '' then 'generated as' when d.adbin is not null then 'default' end,
                        pg_catalog.pg_get_expr(d.adbin, d.adrelid))
                 from pg_catalog.pg_attribute a
                 left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
                where a.attrelid = to_regclass(e.on_table) and quote_ident(a.attname) = e.name and not a.attisdropped)
             when 'index' then (
               select concat_ws(' ',
                        coalesce(pg_catalog.pg_get_indexdef(x.indexrelid), 'no index'),
                        case when not x.indisvalid then '(invalid)' end)
                 from pg_catalog.pg_class c
                 left join pg_catalog.pg_index x on x.indexrelid = c.oid
                where c.relnamespace = 'public'::regnamespace and quote_ident(c.relname) = e.name)
             when 'table' then cgm_private.other_form(e.on_table, e.form)
           end as has
      from expected e
  )
  select string_agg(
           case kind
             when 'table' then has
             else format('%s %s: expected %s; found %s', kind, concat_ws('.', nullif(on_table, ''), name), form, has)
           end, '; ' order by kind, on_table, name)
    into wrong
    from printed
   where has <> form and not (name = 'provider' and has = 'text not null');
  perform set_config('search_path', path, true);
  if wrong is not null then
    raise exception 'objects of these names have another form, and nothing was changed: %', wrong;
  end if;

  if (select a.atttypid = 'pg_catalog.text'::regtype
        from pg_catalog.pg_attribute a
       where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'provider') then
    wrong := cgm_private.users_of_provider();
  end if;
  if wrong is not null then
    raise exception 'provider cannot become an enum while these use it: %', wrong
      using errcode = 'feature_not_supported', hint = 'drop them, migrate, and create them again';
  end if;
end
$$;

create table if not exists cgm_private.provider_aliases (
  alias    text not null primary key,
  provider text not null check (provider in ('dexcom', 'libre', 'abbott', 'medtronic'))
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

do $$
begin
  perform cgm_private.close_schema('cgm_private');
end
$$;

-- A label more or less than these four is a decision for people: the host's client fails on unknown labels.
do $$
begin
  if to_regtype('public."CGMProvider"') is null then
    create type public."CGMProvider" as enum ('dexcom', 'libre', 'abbott', 'medtronic');
  end if;
  if not exists (
    select from pg_catalog.pg_attribute a
     where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'metadata' and not a.attisdropped
  ) then
    alter table public.cgm_connections add column metadata jsonb;
  end if;
end
$$;

-- The conversion of provider, all or nothing.
do $$
declare
  choice text := coalesce(nullif(current_setting('cgm.unknown', true), ''), 'quarantine');
  silenced text[];
  what text;
  w record;
  count_before bigint;
  count_kept bigint;
  count_aside bigint;
  count_links bigint;
  count_moved bigint;
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
  if row_security_active('public.cgm_connections') or row_security_active('public.glucose_readings') then
    raise exception 'row-level security hides rows from role %, so that rows would be lost', current_user
      using errcode = 'insufficient_privilege', hint = 'migrate as the owner, without FORCE ROW LEVEL SECURITY';
  end if;

  -- Two spellings of one provider: one connection is kept, the one that works, then the one that worked last. Only ASCII
  -- is made lower, because a server's language may have ideas of its own about the letter I.
  create temporary table cgm_conversion on commit drop as
  select c.id,
         c.person_id,
         c.provider as original,
         a.provider,
         first_value(c.id) over (
           partition by c.person_id, a.provider
           order by (c.status = 'connected') desc, c.last_sync_at desc nulls last, c.updated_at desc, c.id collate "C"
         ) as kept_id
    from public.cgm_connections c
    left join cgm_private.provider_aliases a
           on a.alias = btrim(regexp_replace(lower(c.provider collate "C"), E'[[:space:]\\u00a0\\u2000-\\u200b\\u202f\\u3000\\ufeff]+', ' ', 'g'));
  get diagnostics count_before = row_count;

  select cgm_private.first_of(array_agg(format('%s (%L)', t.id, t.original) order by t.id))
    into what
    from pg_temp.cgm_conversion t
   where t.provider is null;
  if what is not null and choice = 'abort' then
    raise exception 'no alias names the provider of these connections: %', what
      using hint = 'correct their provider, or put them aside with --unknown=quarantine and then: evercgm db quarantine';
  end if;

  create temporary table cgm_aside on commit drop as
  select t.id, t.kept_id, t.provider is null as unknown
    from pg_temp.cgm_conversion t
   where t.provider is null or t.kept_id <> t.id;

  -- Rows of other tables would go with a connection that is put aside, or stop it.
  for w in
    select o.conrelid::regclass as on_table,
           string_agg(format('x.%I = c.%I', f.attname, t.attname), ' and ') as same_row
      from pg_catalog.pg_constraint o
     cross join lateral unnest(o.conkey, o.confkey) as k (from_column, to_column)
      join pg_catalog.pg_attribute f on f.attrelid = o.conrelid and f.attnum = k.from_column
      join pg_catalog.pg_attribute t on t.attrelid = o.confrelid and t.attnum = k.to_column
     where o.contype = 'f' and o.confrelid = 'public.cgm_connections'::regclass
       and o.conrelid <> 'public.glucose_readings'::regclass
     group by o.oid, o.conrelid
  loop
    execute format(
      'select cgm_private.first_of(array_agg(distinct a.id)) from pg_temp.cgm_aside a join public.cgm_connections c on c.id = a.id'
      ' join %s x on %s', w.on_table, w.same_row) into what;
    if what is not null then
      raise exception 'table % has rows of connections that would be put aside: %', w.on_table, what
        using hint = 'move those rows to the connection that is kept, or delete them; then migrate';
    end if;
  end loop;

  select cgm_private.first_of(array_agg(a.id order by a.id)) into what
    from pg_temp.cgm_aside a join cgm_private.quarantined_connections q on q.id = a.id;
  if what is not null then
    raise exception 'other connections of these ids are in quarantine: %', what
      using hint = 'first: evercgm db quarantine resolve';
  end if;

  -- The triggers of the host and ours must not take the conversion for a change of content.
  for w in
    select t.tgrelid::regclass as on_table, t.tgname, t.tgenabled
      from pg_catalog.pg_trigger t
     where t.tgrelid in ('public.cgm_connections'::regclass, 'public.glucose_readings'::regclass)
       and not t.tgisinternal and t.tgenabled <> 'D'
  loop
    execute format('alter table %s disable trigger %I', w.on_table, w.tgname);
    silenced := silenced || format('alter table %s enable %s trigger %I', w.on_table,
      case w.tgenabled when 'A' then 'always' when 'R' then 'replica' else '' end, w.tgname);
  end loop;
  set constraints all immediate;

  insert into cgm_private.quarantined_connections (id, person_id, connection, reading_ids, reason, kept_id)
  select c.id,
         c.person_id,
         -- NULL is written as null; so a null of JSON is told by leaving it out.
         to_jsonb(c) - case when c.metadata = 'null' then 'metadata' else '' end,
         coalesce((select array_agg(r.id order by r.id)
                     from public.glucose_readings r
                    where r.cgm_connection_id = c.id), '{}'),
         case when a.unknown then 'unknown_provider' else 'second_spelling' end,
         case when not a.unknown then a.kept_id end
    from pg_temp.cgm_aside a
    join public.cgm_connections c on c.id = a.id;
  get diagnostics count_aside = row_count;

  update public.glucose_readings r
     set cgm_connection_id = a.kept_id
    from pg_temp.cgm_aside a
   where r.cgm_connection_id = a.id and not a.unknown;
  get diagnostics count_moved = row_count;

  delete from public.cgm_connections c
   using pg_temp.cgm_aside a
   where c.id = a.id;

  -- metadata that is no object with keys of its own, or has such a key already, is kept whole in metadataOriginal.
  update public.cgm_connections c
     set provider = t.provider,
         metadata = jsonb_build_object('providerOriginal', t.original)
                    || case
                         when c.metadata is null then '{}'
                         when jsonb_typeof(c.metadata) <> 'object' or c.metadata = '{}' or c.metadata ?| array['providerOriginal', 'metadataOriginal']
                           then jsonb_build_object('metadataOriginal', c.metadata)
                         else c.metadata
                       end
    from pg_temp.cgm_conversion t
   where c.id = t.id and t.original <> t.provider;

  alter table public.cgm_connections
    alter column provider type public."CGMProvider" using provider::public."CGMProvider";
  foreach what in array coalesce(silenced, '{}') loop
    execute what;
  end loop;

  -- Nothing was lost: connections are kept or aside; readings of a second spelling moved, the others lost their link only.
  select count(*) into count_kept from public.cgm_connections;
  if count_before <> count_kept + count_aside then
    raise exception 'connections before % are not kept % and quarantined %', count_before, count_kept, count_aside;
  end if;
  select coalesce(sum(cardinality(q.reading_ids)), 0),
         coalesce(sum(cardinality(q.reading_ids)) filter (where not a.unknown), 0) - count_moved
    into count_links, count_moved
    from pg_temp.cgm_aside a
    join cgm_private.quarantined_connections q on q.id = a.id;
  if count_moved <> 0
     or count_links <> (select count(*)
                          from pg_temp.cgm_aside a
                          join cgm_private.quarantined_connections q on q.id = a.id
                         cross join unnest(q.reading_ids) as i (id)
                          join public.glucose_readings r on r.id = i.id
                         where r.cgm_connection_id is not distinct from case when not a.unknown then a.kept_id end) then
    raise exception 'the readings of quarantined connections did not come to where they belong';
  end if;
  comment on table cgm_private.quarantined_connections is 'provider was text';
  if count_aside > 0 then
    raise notice '% connections kept, % put aside in cgm_private.quarantined_connections', count_kept, count_aside;
  end if;
  drop table pg_temp.cgm_conversion, pg_temp.cgm_aside;
end
$$;

do $$
begin
  if to_regclass('public.cgm_connections_last_sync_at_idx') is null then
    create index cgm_connections_last_sync_at_idx on public.cgm_connections (last_sync_at);
  end if;
  if to_regclass('public.cgm_connections_person_id_status_idx') is null then
    create index cgm_connections_person_id_status_idx on public.cgm_connections (person_id, status);
  end if;
end
$$;
