-- The live proof: two made-up people, seen with each other's eyes, in a transaction that is rolled back.

-- name: hindrance
-- why this role cannot try it, or null
select case
         when pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' then 'this database is read-only for us'
         when to_regrole('authenticated') is null then 'there is no role authenticated'
         when not pg_has_role('authenticated', case when current_setting('server_version_num')::integer >= 160000
                                                    then 'set' else 'member' end)
           then 'this role may not become authenticated'
       end as reason;

-- name: tables
-- the three tables: whether they are there, and whether this role may fill them and sees all of their rows
select w.name,
       c.oid is not null as there,
       coalesce(has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'select')
                and has_table_privilege(c.oid, 'delete'), false) as writable,
       coalesce(row_security_active(c.oid), false) as filtered
  from (values ('Person'), ('cgm_connections'), ('glucose_readings')) as w (name)
  left join pg_catalog.pg_namespace n on n.nspname = 'public'
  left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.name
 order by 1;

-- name: demands
-- columns that must be filled and that we know nothing of
select format('%I.%I.%I', n.nspname, c.relname, a.attname) as name
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = 'public'
   and a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = ''
   and (c.relname = 'Person' and a.attname not in ('id', 'ownerId')
        or c.relname = 'cgm_connections'
           and a.attname not in ('id', 'person_id', 'provider', 'access_token', 'refresh_token', 'token_expires_at', 'status',
                                 'created_at', 'updated_at')
        or c.relname = 'glucose_readings'
           and a.attname not in ('id', 'person_id', 'timestamp', 'value', 'source', 'created_at'))
 order by 1;

-- name: make
-- two persons of two owners, each with a connection and a reading of it
with people as (
  insert into public."Person" (id, "ownerId")
  values (%(a)s, %(owner_a)s), (%(b)s, %(owner_b)s)
  returning id
),
connections as (
  insert into public.cgm_connections
         (id, person_id, provider, access_token, refresh_token, token_expires_at, created_at, updated_at)
  select p.id, p.id, 'dexcom', '', '', '2000-01-01', '2000-01-01', '2000-01-01'
    from people p
  returning id
)
select count(*) from connections;

-- name: make_readings
insert into public.glucose_readings (id, person_id, "timestamp", value, source, created_at, cgm_connection_id)
values (%(a)s, %(a)s, '2000-01-01', 100, 'cgm', '2000-01-01', %(a)s),
       (%(b)s, %(b)s, '2000-01-01', 100, 'cgm', '2000-01-01', %(b)s);

-- name: become
-- another's eyes; the single old claim would win over the JSON
select set_config('request.jwt.claim.sub', '', true),
       set_config('request.jwt.claims', %(claims)s, true),
       set_config('role', 'authenticated', true);

-- name: see
select c.id from public.cgm_connections c where c.id in (%(a)s, %(b)s) order by c.id = %(b)s;

-- name: see_readings
select r.id from public.glucose_readings r where r.id in (%(a)s, %(b)s) order by r.id = %(b)s;

-- name: insert_foreign
insert into public.cgm_connections
       (id, person_id, provider, access_token, refresh_token, token_expires_at, created_at, updated_at)
values (%(fresh)s, %(b)s, 'libre', '', '', '2000-01-01', '2000-01-01', '2000-01-01');

-- name: update_foreign
update public.cgm_connections set error_message = 'tried' where id = %(b)s;

-- name: delete_foreign
delete from public.cgm_connections where id = %(b)s;

-- name: delete_own_connection
delete from public.cgm_connections where id = %(a)s;

-- name: delete_person
delete from public."Person" where id = %(b)s;

-- name: left_of
-- what is left of one of the two
select (select count(*) from public."Person" p where p.id = %(one)s) as persons,
       (select count(*) from public.cgm_connections c where c.id = %(one)s) as connections,
       (select count(*) from public.glucose_readings r where r.id = %(one)s) as readings,
       (select count(*) from public.glucose_readings r where r.id = %(one)s and r.cgm_connection_id is not null) as linked;
