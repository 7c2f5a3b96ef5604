-- name: begin
-- Times as ISO text in UTC, whatever the server speaks; and whether there is a quarantine. Asked of the catalog, because a
-- name in a schema that may not be used is an error.
select set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
       exists (
         select from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'cgm_private' and c.relname = 'quarantined_connections') as migrated,
       exists (
         select from pg_catalog.pg_class c
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'cgm_private' and c.relname = 'quarantined_connections'
           and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'delete')) as allowed,
       exists (
         select from pg_catalog.pg_roles r
         where r.rolname = 'cgm_worker'
           -- From 16 on, who has made a role is its member but may not become it by that.
           and pg_has_role(r.oid, case when current_setting('server_version_num')::integer < 160000 then 'member'
                                       else 'set' end)) as worker

-- name: become_worker
select set_config('role', 'cgm_worker', true)

-- name: all
-- What is aside. Tokens stay where they are.
select q.id, q.person_id, q.connection ->> 'provider' as spelling, q.reason, q.kept_id,
       cardinality(q.reading_ids) as readings, q.created_at as put_aside_at
from cgm_private.quarantined_connections q
order by q.created_at, q.id

-- name: one
-- One of them, locked.
select q.id, q.person_id, q.connection ->> 'provider' as spelling, q.reason, q.kept_id,
       cardinality(q.reading_ids) as readings, q.created_at as put_aside_at
from cgm_private.quarantined_connections q
where q.id = %(id)s
for update

-- name: providers
-- The providers that there are.
select unnest(enum_range(null::public."CGMProvider"))::text as provider

-- name: in_the_way
-- Connections that have the id already, or the person and provider.
select c.id
from public.cgm_connections c
where c.id = %(id)s or c.person_id = %(person_id)s and c.provider = %(provider)s::public."CGMProvider"
order by c.id = %(id)s desc
limit 1

-- name: columns
-- The columns that a row aside can fill. The host may have added others, which get their default, or generated ones.
select a.attname::text as name
from pg_catalog.pg_attribute a
where a.attrelid = 'public.cgm_connections'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  and ((select q.connection ? a.attname from cgm_private.quarantined_connections q where q.id = %(id)s)
       or a.attname = 'metadata')
order by a.attnum

-- name: lost_columns
-- Values for which there is no column any more.
select k.key as name
from cgm_private.quarantined_connections q
cross join jsonb_each(q.connection) as k (key, value)
where q.id = %(id)s
  and k.value <> 'null'
  and not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = 'public.cgm_connections'::regclass and a.attname = k.key and a.attnum > 0 and not a.attisdropped)

-- name: put_back
-- The row under its provider, of the person who has it now: ids of persons may change. {columns} are those of "columns", as identifiers. The spelling is kept in metadata by the
-- rule of the conversion, so that its rollback finds it; where it is left out, it was a null of JSON.
insert into public.cgm_connections ({columns})
overriding system value
select {columns}
from (
  select back.*
  from cgm_private.quarantined_connections q
  cross join lateral (select q.connection -> 'metadata' as kept, q.connection ->> 'provider' as spelling) as was
  cross join lateral jsonb_populate_record(
    null::public.cgm_connections,
    q.connection || jsonb_build_object(
      'person_id', q.person_id,
      'provider', %(provider)s::text,
      'metadata',
      case
        when was.spelling = %(provider)s then was.kept
        else jsonb_build_object('providerOriginal', was.spelling)
             || case
                  when was.kept = 'null' then '{{}}'
                  when was.kept is null or jsonb_typeof(was.kept) <> 'object' or was.kept = '{{}}'
                       or was.kept ?| array['providerOriginal', 'metadataOriginal']
                    then jsonb_build_object('metadataOriginal', was.kept)
                  else was.kept
                end
      end)) as back
  where q.id = %(id)s
) as back

-- name: relink
-- Its readings, those that nothing has linked since.
update public.glucose_readings r
set cgm_connection_id = q.id
from cgm_private.quarantined_connections q
cross join unnest(q.reading_ids) as i (id)
where q.id = %(id)s and r.id = i.id and r.cgm_connection_id is null and r.person_id = q.person_id

-- name: elsewhere
-- How many of its readings are linked to another connection now.
select count(*) as readings
from cgm_private.quarantined_connections q
cross join unnest(q.reading_ids) as i (id)
join public.glucose_readings r on r.id = i.id
where q.id = %(id)s and r.cgm_connection_id is distinct from q.id and r.cgm_connection_id is not null

-- name: forget
delete from cgm_private.quarantined_connections where id = %(id)s
