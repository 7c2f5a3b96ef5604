set local lock_timeout = '5s';

-- Takes back the conversion of provider, by hand, with the service stopped:
--   psql --set ON_ERROR_STOP=1 --single-transaction --file supabase/rollbacks/20261124000001_cgm_match_production.sql
-- provider is text again in its first spelling, quarantined connections are back with their readings, and the row of the
-- history is gone. What the migrations added stays (metadata, indexes, the enum's type, schema cgm_private), and what the
-- access migration took away stays away: grants of the API's roles, and the first form of the four policies.
-- Where something would be lost, or nothing was converted, it stops and nothing is changed. (A column of type json that
-- the host app added comes back to quarantined rows without white space and doubled keys.) Forward again: evercgm db
-- migrate, or, because newer versions are recorded, supabase db push --include-all.
do $$
declare
  columns text;
  silenced text[];
  what text;
  w record;
  count_before bigint;
  count_aside bigint;
  count_back bigint;
  count_links bigint;
begin
  perform set_config('lock_timeout', '5s', true);
  if to_regclass('cgm_private.quarantined_connections') is null then
    raise exception 'there is no table cgm_private.quarantined_connections: the migration was not applied here';
  end if;
  -- The lock of our runner.
  if not pg_try_advisory_xact_lock(28559150730667885) then
    raise exception 'a migration is running: try again when it has ended' using errcode = 'lock_not_available';
  end if;
  lock table public.cgm_connections, public.glucose_readings, cgm_private.quarantined_connections
    in access exclusive mode;
  if (select a.atttypid = 'pg_catalog.text'::regtype
        from pg_catalog.pg_attribute a
       where a.attrelid = 'public.cgm_connections'::regclass and a.attname = 'provider') then
    raise notice 'provider is text already: nothing to take back';
    return;
  end if;
  if obj_description('cgm_private.quarantined_connections'::regclass, 'pg_class') is distinct from 'provider was text' then
    raise exception 'provider was an enum before the migration: nothing was converted, and nothing is to be taken back';
  end if;
  if row_security_active('public.cgm_connections') or row_security_active('public.glucose_readings')
     or row_security_active('cgm_private.quarantined_connections') then
    raise exception 'row-level security hides rows from role %, so that rows would be lost', current_user
      using errcode = 'insufficient_privilege', hint = 'use the owner, without FORCE ROW LEVEL SECURITY';
  end if;
  what := cgm_private.users_of_provider();
  if what is not null then
    raise exception 'provider cannot become text while these use it: %', what
      using errcode = 'feature_not_supported', hint = 'drop them, take back, and create them again';
  end if;

  -- What would be lost.
  select cgm_private.first_of(array_agg(q.id order by q.id)) into what
    from cgm_private.quarantined_connections q
    join public.cgm_connections c on c.id = q.id;
  if what is not null then
    raise exception 'quarantined connections would replace others of the same id: %', what;
  end if;

  select cgm_private.first_of(array_agg(distinct format('%s (%s)', q.id, k.key))) into what
    from cgm_private.quarantined_connections q
   cross join jsonb_each(q.connection) as k (key, value)
   where k.value <> 'null'
     and not exists (
       select from pg_catalog.pg_attribute a
        where a.attrelid = 'public.cgm_connections'::regclass and a.attname = k.key and a.attnum > 0 and not a.attisdropped);
  if what is not null then
    raise exception 'cgm_connections no longer has a column for values of quarantined connections: %', what;
  end if;

  select cgm_private.first_of(array_agg(format('%s of %s', r.id, q.id) order by r.id)) into what
    from cgm_private.quarantined_connections q
   cross join unnest(q.reading_ids) as i (id)
    join public.glucose_readings r on r.id = i.id
   where r.person_id <> q.person_id;
  if what is not null then
    raise exception 'readings of quarantined connections belong to other persons now: %', what;
  end if;

  select cgm_private.first_of(array_agg(format('%s of %s is linked to %s', r.id, q.id, r.cgm_connection_id) order by r.id))
    into what
    from cgm_private.quarantined_connections q
   cross join unnest(q.reading_ids) as i (id)
    join public.glucose_readings r on r.id = i.id
   where r.cgm_connection_id <> coalesce(q.kept_id, '');
  if what is not null then
    raise exception 'readings of quarantined connections have been linked to others since: %', what;
  end if;

  with spelled (id, person_id, provider) as (
    select c.id, c.person_id,
           case when jsonb_typeof(c.metadata -> 'providerOriginal') = 'string' then c.metadata ->> 'providerOriginal'
                else c.provider::text end
      from public.cgm_connections c
    union all
    select q.id, q.person_id, q.connection ->> 'provider' from cgm_private.quarantined_connections q
  )
  select cgm_private.first_of(array_agg(format('%s of person %s', s.ids, s.person_id))) into what
    from (select string_agg(id, ' and ' order by id) as ids, person_id
            from spelled group by person_id, provider having count(*) > 1) as s;
  if what is not null then
    raise exception 'these would have the same provider again, of which a person may have one only: %', what;
  end if;

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

  select count(*) into count_before from public.cgm_connections;
  select count(*) into count_aside from cgm_private.quarantined_connections;

  alter table public.cgm_connections
    alter column provider type text
    using case when jsonb_typeof(metadata -> 'providerOriginal') = 'string' then metadata ->> 'providerOriginal'
               else provider::text end;

  -- metadata as it was: what the conversion kept whole comes back; keys that were added since stay.
  update public.cgm_connections c
     set metadata = case
           when not c.metadata ? 'metadataOriginal' then nullif(m.others, '{}')
           when m.others = '{}' then c.metadata -> 'metadataOriginal'
           when jsonb_typeof(c.metadata -> 'metadataOriginal') = 'object' then m.others || (c.metadata -> 'metadataOriginal')
           else c.metadata - 'providerOriginal'
         end
    from (select x.id, x.metadata - 'providerOriginal' - 'metadataOriginal' as others
            from public.cgm_connections x
           where jsonb_typeof(x.metadata -> 'providerOriginal') = 'string') as m
   where c.id = m.id;

  -- Rows come back by name: columns that the host added since get their default, generated ones make themselves. A person's
  -- id may have changed since, and the copy does not know it.
  for w in
    select q.id, q.connection || jsonb_build_object('person_id', q.person_id) as connection
      from cgm_private.quarantined_connections q
     order by q.id
  loop
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
      from pg_catalog.pg_attribute a
     where a.attrelid = 'public.cgm_connections'::regclass and a.attnum > 0 and not a.attisdropped
       and a.attgenerated = '' and w.connection ? a.attname;
    execute format(
      'insert into public.cgm_connections (%1$s) overriding system value'
      ' select %1$s from jsonb_populate_record(null::public.cgm_connections, $1)', columns)
      using w.connection;
    if not w.connection ? 'metadata' then
      update public.cgm_connections c set metadata = 'null' where c.id = w.id;
    end if;
  end loop;

  update public.glucose_readings r
     set cgm_connection_id = q.id
    from cgm_private.quarantined_connections q
   cross join unnest(q.reading_ids) as i (id)
   where r.id = i.id;
  get diagnostics count_links = row_count;

  if count_links <> (select count(*)
                       from cgm_private.quarantined_connections q
                      cross join unnest(q.reading_ids) as i (id)
                       join public.glucose_readings r on r.id = i.id and r.cgm_connection_id = q.id) then
    raise exception 'the readings of quarantined connections did not come back to them';
  end if;
  delete from cgm_private.quarantined_connections;
  comment on table cgm_private.quarantined_connections is null;
  select count(*) into count_back from public.cgm_connections;
  if count_back <> count_before + count_aside then
    raise exception 'connections % are not those before % and those back %', count_back, count_before, count_aside;
  end if;

  foreach what in array coalesce(silenced, '{}') loop
    execute what;
  end loop;
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    delete from supabase_migrations.schema_migrations where version = '20261124000001';
  end if;
  raise notice '% connections, % of them back from quarantine, % readings linked to these', count_back, count_aside, count_links;
end
$$;
