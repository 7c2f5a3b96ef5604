-- public.glucose_readings in parts by range of its id, under the same name and with everything that hung on it: key,
-- foreign keys both ways, indexes, triggers, row-level security, policies, rights. docs/scale.md says when it is worth it.
-- By hand, once, by the owner of the tables, while nothing writes. Nothing is copied but the rows whose ids lie beyond the
-- first part: the table itself becomes that part.
--
-- cgm.part_starts: where the parts after the first begin, as dates; the last one is where the last part ends. What lies
-- beyond, and ids that are no time (the host app's random ones), go into the part for everything else.
--   set cgm.part_starts = '2027-01-01, 2028-01-01, 2029-01-01';    -- default: the next three New Years

begin;
set local lock_timeout = '5s';
set local search_path = '';

do $$
begin
  if (select c.relkind <> 'r' from pg_catalog.pg_class c where c.oid = 'public.glucose_readings'::regclass) then
    raise exception 'public.glucose_readings is no plain table: it is in parts already';
  end if;
  if exists (
    select from pg_catalog.pg_depend d join pg_catalog.pg_rewrite w on w.oid = d.objid
     where d.refobjid = 'public.glucose_readings'::regclass and d.classid = 'pg_catalog.pg_rewrite'::regclass
       and w.ev_class <> d.refobjid
  ) then
    raise exception 'a view reads public.glucose_readings: it would go on reading the first part alone; drop it first';
  end if;
end
$$;

lock table public.glucose_readings in access exclusive mode;

-- A schema that nobody may enter: the parts are reached through the table alone, whose policies then hold.
create schema cgm_parts;
revoke all on schema cgm_parts from public;

-- What hangs on the table, in the catalog's own words, before its name is taken away.
create temporary table told on commit drop as
select 1 as turn, pg_catalog.pg_get_indexdef(x.indexrelid) as words
  from pg_catalog.pg_index x
 where x.indrelid = 'public.glucose_readings'::regclass and not x.indisprimary
union all
select case o.contype when 'p' then 0 else 2 end,
       format('alter table public.glucose_readings add constraint %I %s', o.conname, pg_catalog.pg_get_constraintdef(o.oid))
  from pg_catalog.pg_constraint o
 where o.conrelid = 'public.glucose_readings'::regclass and o.contype in ('p', 'f')
union all
select 4, format('alter table %s add constraint %I %s', o.conrelid::regclass, o.conname, pg_catalog.pg_get_constraintdef(o.oid))
  from pg_catalog.pg_constraint o
 where o.confrelid = 'public.glucose_readings'::regclass and o.contype = 'f' and o.conparentid = 0
union all
select 4, pg_catalog.pg_get_triggerdef(t.oid)
  from pg_catalog.pg_trigger t
 where t.tgrelid = 'public.glucose_readings'::regclass and not t.tgisinternal
union all
select 5, format('create policy %I on public.glucose_readings as %s for %s to %s', p.policyname, p.permissive, p.cmd,
                 (select string_agg(case r when 'public' then 'public' else quote_ident(r) end, ', ') from unnest(p.roles) r))
          || coalesce(' using (' || p.qual || ')', '') || coalesce(' with check (' || p.with_check || ')', '')
  from pg_catalog.pg_policies p
 where p.schemaname = 'public' and p.tablename = 'glucose_readings'
union all
select 5, 'alter table public.glucose_readings enable row level security'
  from pg_catalog.pg_class c
 where c.oid = 'public.glucose_readings'::regclass and c.relrowsecurity
union all
select 6, format('grant %s%s on public.glucose_readings to %s%s', a.privilege_type,
                 case when a.attname is not null then format(' (%I)', a.attname) end,
                 case a.grantee when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end,
                 case when a.is_grantable then ' with grant option' end)
  from (
    select null::name as attname, x.*
      from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) x
     where c.oid = 'public.glucose_readings'::regclass
    union all
    select t.attname, x.*
      from pg_catalog.pg_attribute t, pg_catalog.aclexplode(t.attacl) x
     where t.attrelid = 'public.glucose_readings'::regclass
  ) a;

-- The table becomes the first part: its own name, and those of its indexes and keys, are free again.
do $$
declare
  name text;
begin
  for name in
    select format('alter table %s drop constraint %I', o.conrelid::regclass, o.conname)
      from pg_catalog.pg_constraint o
     where o.confrelid = 'public.glucose_readings'::regclass and o.contype = 'f' and o.conparentid = 0
    union all
    select format('drop trigger %I on public.glucose_readings', t.tgname)
      from pg_catalog.pg_trigger t
     where t.tgrelid = 'public.glucose_readings'::regclass and not t.tgisinternal
    union all
    select format('drop policy %I on public.glucose_readings', p.policyname)
      from pg_catalog.pg_policies p
     where p.schemaname = 'public' and p.tablename = 'glucose_readings'
    union all
    select format('alter index %s rename to %I', x.indexrelid::regclass, 'first_' || c.relname)
      from pg_catalog.pg_index x
      join pg_catalog.pg_class c on c.oid = x.indexrelid
     where x.indrelid = 'public.glucose_readings'::regclass
  loop
    execute name;
  end loop;
  execute (select 'revoke all on public.glucose_readings from public'
             || coalesce(', ' || string_agg(distinct quote_ident(pg_catalog.pg_get_userbyid(a.grantee)), ', '), '')
             from pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
            where c.oid = 'public.glucose_readings'::regclass and a.grantee not in (0, c.relowner));
  alter table public.glucose_readings set schema cgm_parts;
  alter table cgm_parts.glucose_readings rename to glucose_readings_first;

  create table public.glucose_readings (
    like cgm_parts.glucose_readings_first
    including defaults including constraints including generated including identity including comments including storage
  ) partition by range (id);
  execute (select format('alter table public.glucose_readings owner to %I', pg_catalog.pg_get_userbyid(c.relowner))
             from pg_catalog.pg_class c where c.oid = 'cgm_parts.glucose_readings_first'::regclass);

  -- Before the first part is attached: what it has already is then recognised, not built or proved anew.
  for name in select t.words from pg_temp.told t where t.turn <= 2 order by t.turn, t.words loop
    execute name;
  end loop;
end
$$;

do $$
declare
  starts date[] := string_to_array(coalesce(
    nullif(current_setting('cgm.part_starts', true), ''),
    (select string_agg(((date_trunc('year', now()) + n * interval '1 year')::date)::text, ',' order by n)
       from generate_series(1, 3) n)), ',')::date[];
  ends text[];
  part text;
  n integer;
begin
  -- Where the ids of an instant begin: 48 bits of milliseconds, as reading ids have them.
  select array_agg(substr(i.hex, 1, 8) || '-' || substr(i.hex, 9) order by s) into ends
    from unnest(starts) s
   cross join lateral (
     select lpad(to_hex((extract(epoch from s::timestamp at time zone 'UTC') * 1000)::bigint), 12, '0') as hex
   ) i;
  create table cgm_parts.glucose_readings_other partition of public.glucose_readings default;
  for n in 2 .. array_length(ends, 1) loop
    part := 'glucose_readings_from_' || to_char(starts[n - 1], 'YYYY_MM_DD');
    execute format('create table cgm_parts.%I partition of public.glucose_readings for values from (%L) to (%L)',
                   part, ends[n - 1], ends[n]);
  end loop;

  execute format('insert into public.glucose_readings select * from cgm_parts.glucose_readings_first where id >= %L', ends[1]);
  execute format('delete from cgm_parts.glucose_readings_first where id >= %L', ends[1]);
  execute format('alter table public.glucose_readings attach partition cgm_parts.glucose_readings_first'
                 ' for values from (minvalue) to (%L)', ends[1]);

  for part in select t.words from pg_temp.told t where t.turn > 2 order by t.turn, t.words loop
    execute part;
  end loop;
  -- Who finds a way in all the same sees no row.
  for part in
    select format('alter table cgm_parts.%I enable row level security', c.relname)
      from pg_catalog.pg_class c
     where c.relnamespace = 'cgm_parts'::regnamespace and c.relkind = 'r'
  loop
    execute part;
  end loop;
end
$$;

analyze public.glucose_readings;
commit;
