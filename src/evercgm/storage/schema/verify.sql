-- What the checks of `db verify` ask besides the shape of the objects. The first part reads pg_catalog only, so any login
-- role may run it; nothing is named that could be missing or closed. The second part counts rows: counts, no values.

-- name: session
-- who is asking
select current_user::text as role, session_user::text as login;

-- name: api_roles
-- those of Supabase's that the server has
select r.rolname::text as name from pg_catalog.pg_roles r where r.rolname in ('anon', 'authenticated', 'service_role');

-- name: claims_function
-- auth.uid(), by which policies know the person
select pg_catalog.format_type(p.prorettype, null) as returns,
       p.prosrc as body,
       case p.provolatile when 's' then 'stable' when 'i' then 'immutable' else 'volatile' end as volatility
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'auth' and p.proname = 'uid' and p.pronargs = 0;

-- name: api_privileges
-- what the API's roles may do with a table, view or sequence as a whole or with any column of it; of the host app's two
-- tables also what may be done for a person through the service
select format('%I.%I', n.nspname, c.relname) as object,
       c.relkind::text as kind,
       r.rolname::text as role,
       (select coalesce(array_agg(p.name order by p.place), '{}')
          from unnest(
                 case when c.relkind = 'S' then array['USAGE', 'SELECT', 'UPDATE']
                      else array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']
                           || case when current_setting('server_version_num')::integer >= 170000
                                   then array['MAINTAIN'] else '{}' end end) with ordinality as p (name, place)
         where case when c.relkind = 'S' then has_sequence_privilege(r.oid, c.oid, p.name)
                    else has_table_privilege(r.oid, c.oid, p.name)
                         or p.name in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                            and has_any_column_privilege(r.oid, c.oid, p.name) end) as privileges
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  cross join pg_catalog.pg_roles r
 where c.relkind in ('r', 'p', 'v', 'm', 'S')
   and (r.rolname in ('anon', 'authenticated')
        and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
        or r.rolname in ('anon', 'authenticated', 'cgm_request')
           and n.nspname = 'public' and c.relname in ('Person', 'glucose_readings'))
 order by 1, 3;

-- name: connection_columns
-- what the API's roles may do with each column of the connections
select format('%I.%I.%I', n.nspname, c.relname, a.attname) as object,
       a.attname::text as "column",
       r.rolname::text as role,
       has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') as may_select,
       has_column_privilege(r.oid, c.oid, a.attnum, 'INSERT') as may_insert,
       has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE') as may_update
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  cross join pg_catalog.pg_roles r
 where n.nspname = 'public' and c.relname = 'cgm_connections' and r.rolname in ('anon', 'authenticated')
 order by 1, 3;

-- name: person_columns
-- the two columns that the policies read as the caller
select a.attname::text as "column", has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') as readable
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname in ('id', 'ownerId')
  join pg_catalog.pg_roles r on r.rolname = 'authenticated'
 where n.nspname = 'public' and c.relname = 'Person'
 order by a.attnum;

-- name: owner_index
-- whether an owner's persons can be found by an index
select i.indexrelid::regclass::text as name
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
 where n.nspname = 'public' and c.relname = 'Person' and a.attname = 'ownerId' and i.indisvalid and i.indpred is null;

-- name: secret_views
-- views that show a token, cursor or metadata, or anything of our own schemas, to the API's roles with the rights of the
-- view's owner; over other views, too. A security_invoker view asks for the caller's own rights on what lies below it,
-- also from within another view; a materialized one holds what its owner saw.
with recursive secret (relation, "column", row_type) as (
  select c.oid, a.attnum, c.reltype
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
   where c.relkind in ('r', 'p')
     and (n.nspname in ('cgm_private', 'cgm_jobs')
          or n.nspname = 'public' and c.relname = 'cgm_connections'
             and a.attname in ('access_token', 'refresh_token', 'sync_cursor', 'metadata'))
),
views (oid, is_stored, asks_the_caller) as (
  select v.oid,
         v.relkind = 'm',
         exists (select from pg_catalog.pg_options_to_table(v.reloptions) o
                  where o.option_name = 'security_invoker' and o.option_value::boolean)
    from pg_catalog.pg_class v
   where v.relkind in ('v', 'm')
),
links (view, relation, "column", query) as (
  select w.ev_class, d.refobjid, d.refobjsubid, w.ev_action::text
    from pg_catalog.pg_depend d
    join pg_catalog.pg_rewrite w on w.oid = d.objid
   where d.classid = 'pg_catalog.pg_rewrite'::regclass
     and d.refclassid = 'pg_catalog.pg_class'::regclass
     and w.ev_class <> d.refobjid
),
showing (view, guarded) as (
  select l.view, v.asks_the_caller
    from links l
    join views v on v.oid = l.view
    join secret s on s.relation = l.relation
   where l."column" = s."column"
         -- The row as a whole leaves no trace of its columns but in the query itself.
         or position(format(':varattno 0 :vartype %s ', s.row_type) in l.query) > 0
  union
  select l.view, not v.is_stored and (v.asks_the_caller or below.guarded)
    from showing below
    join links l on l.relation = below.view
    join views v on v.oid = l.view
)
select distinct format('%I.%I', n.nspname, v.relname) as object, r.rolname::text as role
  from showing s
  join pg_catalog.pg_class v on v.oid = s.view
  join pg_catalog.pg_namespace n on n.oid = v.relnamespace
  join pg_catalog.pg_roles r on r.rolname in ('anon', 'authenticated')
 where not s.guarded and has_any_column_privilege(r.oid, v.oid, 'SELECT')
 order by 1, 2;

-- name: silenced
-- references and keys of the tables whose internal triggers do not fire, and on which tables
select format('%I.%I.%I', n.nspname, c.relname, k.conname) as name,
       string_agg(distinct t.tgrelid::regclass::text, ', ') as tables
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
  join pg_catalog.pg_class c on c.oid = k.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where t.tgisinternal
   and t.tgenabled in ('D', 'R')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
 group by n.nspname, c.relname, k.conname
 order by 1;

-- name: rules
-- rules that rewrite what is said to a table; references are kept by statements, so these are rewritten, too
select format('%I.%I', n.nspname, c.relname) as table_name, quote_ident(w.rulename) as name
  from pg_catalog.pg_rewrite w
  join pg_catalog.pg_class c on c.oid = w.ev_class
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and w.ev_enabled <> 'D'
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
 order by 1, 2;

-- name: group_forms
-- what the two group roles are besides what the access migration makes them; '' where nothing
select g.rolname::text as role,
       concat_ws(', ',
         case when g.rolcreaterole then 'may make roles' end,
         case when g.rolcreatedb then 'may make databases' end,
         case when g.rolname = 'cgm_request' and not g.rolinherit then 'inherits nothing' end,
         case when g.rolname = 'cgm_request'
                   and not exists (select from pg_catalog.pg_roles a
                                    where a.rolname = 'authenticated' and pg_has_role(g.oid, a.oid, 'usage'))
              then 'has not the rights of authenticated' end,
         (select 'member of ' || string_agg(distinct o.rolname, ', ')
            from pg_catalog.pg_auth_members m
            join pg_catalog.pg_roles o on o.oid = m.roleid
           where m.member = g.oid and not (g.rolname = 'cgm_request' and o.rolname = 'authenticated'))) as besides
  from pg_catalog.pg_roles g
 where g.rolname in ('cgm_request', 'cgm_worker')
 order by 1;

-- name: group_members
-- who has, or may give itself, the rights of one of the two groups and must not: the roles of Supabase's API, and the one
-- group the other's
with recursive reach (member, role) as (
  select g.oid, g.oid
    from pg_catalog.pg_roles g
   where g.rolname in ('cgm_request', 'cgm_worker')
  union
  select m.member, reach.role
    from reach
    join pg_catalog.pg_auth_members m on m.roleid = reach.member
   where m.admin_option
         or coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
         or coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
)
select g.rolname::text as role, string_agg(r.rolname, ', ' order by r.rolname) as members
  from reach
  join pg_catalog.pg_roles g on g.oid = reach.role
  join pg_catalog.pg_roles r on r.oid = reach.member
 where r.oid <> g.oid
   and r.rolname in ('anon', 'authenticated', 'service_role', 'authenticator', 'cgm_request', 'cgm_worker')
 group by g.rolname
 order by g.rolname;

-- name: service_roles
-- the two group roles, and those that log in and may become one of them
with recursive members (role) as (
  select r.oid from pg_catalog.pg_roles r where r.rolname in ('cgm_request', 'cgm_worker')
  union
  select m.member
    from members
    join pg_catalog.pg_auth_members m on m.roleid = members.role
   where coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
)
select r.rolname::text as role, r.rolcanlogin as may_log_in
  from pg_catalog.pg_roles r
 where r.oid in (select role from members) and (r.rolcanlogin or r.rolname in ('cgm_request', 'cgm_worker'))
 order by r.rolcanlogin, r.rolname;

-- name: role_exists
select from pg_catalog.pg_roles where rolname = %(role)s;

-- name: prisma_there
-- whether the host app keeps a history of Prisma's, and whether we may read it
select has_table_privilege(c.oid, 'select') as readable
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'public' and c.relname = '_prisma_migrations';

-- name: prisma_history
-- Prisma's own record of the migration that the report tells of, and of those that failed
select migration_name as name,
       finished_at is not null as finished,
       rolled_back_at is not null as rolled_back
  from public._prisma_migrations
 where migration_name ~ 'add_cgm_connection$' or finished_at is null and rolled_back_at is null
 order by started_at;

-- name: filtered
-- which of these tables the asking role may not read, or not all rows of
select coalesce(string_agg(format('%%I.%%I', n.nspname, c.relname), ', '), '') as names
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where format('%%I.%%I', n.nspname, c.relname) = any (%(tables)s)
   and (not has_schema_privilege(n.oid, 'usage')
        or not has_any_column_privilege(c.oid, 'select')
        or row_security_active(c.oid));

-- name: persons
-- owners that no signed-in person can be: auth.uid() is compared as text, in lower case
select count(*) as persons,
       count(*) filter (
         where "ownerId" !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$') as without_uuid
  from public."Person";

-- name: readings
-- readings that name a connection of another person
select count(*) as of_others
  from public.glucose_readings r
  join public.cgm_connections c on c.id = r.cgm_connection_id
 where c.person_id <> r.person_id;

-- name: duplicates
-- readings stored more than once: the same person, moment, value and source
select coalesce(sum(d.copies - 1), 0)::bigint as too_many
  from (
    select count(*) as copies
      from public.glucose_readings r
     group by r.person_id, r."timestamp", r.value, r.source
    having count(*) > 1
  ) as d;

-- name: token_forms
-- stored tokens by what they look like (storage/host_envelope.py names the same forms)
select t.form, count(*) as tokens
  from (
    select case
             when v.token = '' then 'empty'
             when v.token ~ '^[0-9a-fA-F]{32}:[0-9a-fA-F]{32}:([0-9a-fA-F]{2})+$' then 'host'
             when v.token ~ '^v1\.[0-9a-f]{8}\.[A-Za-z0-9_-]+=*$' then 'ours'
             when length(v.token) >= 12 and v.token ~ '^[A-Za-z0-9._~+/-]+=*$' and v.token !~ '^(v[0-9]+\.|gAAAAA)'
               then 'plain'
             else 'unreadable'
           end as form
      from public.cgm_connections c
     cross join lateral (values (c.access_token), (c.refresh_token)) as v (token)
  ) as t
 group by t.form
 order by t.form;

-- name: ended
-- connections that are said to work while their access has ended
select count(*) as connections
  from public.cgm_connections c
 where c.status::text = 'connected' and c.token_expires_at < (now() at time zone 'UTC');

-- name: key_ids
-- the keys that the connections' tokens were sealed with
select substring(v.sealed from '^v1\.([0-9a-f]{8})\.') as key_id, count(*) as sealed
  from public.cgm_connections c
 cross join lateral (values (c.access_token), (c.refresh_token)) as v (sealed)
 where v.sealed ~ '^v1\.[0-9a-f]{8}\.'
 group by 1
 order by 1;

-- name: quarantine
-- connections that the migration put aside and nobody has decided on
select q.reason, count(*) as connections
  from cgm_private.quarantined_connections q
 group by q.reason
 order by q.reason;
