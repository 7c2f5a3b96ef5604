-- One query a kind of object; each answers (name, definition), or (table_name, name, definition) where an object belongs to
-- a table. Only pg_catalog is read, so any login role may run them. The caller has set search_path to '', which makes the
-- catalog's own functions print every name with its schema. "ours" are the three tables that we share with the host app,
-- and everything in cgm_private and cgm_jobs.

-- name: schemas
-- our schemas
select n.nspname as name, 'present' as definition
  from pg_catalog.pg_namespace n
 where n.nspname in ('cgm_private', 'cgm_jobs');

-- name: enums
-- the labels in order, of the enums that our tables use
select format('%I.%I', n.nspname, t.typname) as name,
       (select string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder)
          from pg_catalog.pg_enum e
         where e.enumtypid = t.oid) as definition
  from pg_catalog.pg_type t
  join pg_catalog.pg_namespace n on n.oid = t.typnamespace
 where t.typtype = 'e'
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and t.typname in ('CGMConnectionStatus', 'CGMProvider', 'GlucoseSource'));

-- name: tables
-- tables, partitions, views and sequences, with their row-level security
select format('%I.%I', n.nspname, c.relname) as name,
       concat_ws(', ',
         case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
                        when 'm' then 'materialized view' when 'S' then 'sequence' else c.relkind::text end,
         case when c.relpersistence <> 'p' then 'unlogged' end,
         case when c.relrowsecurity then 'row-level security' end,
         case when c.relforcerowsecurity then 'forced on its owner' end,
         -- Which role is the owner differs from place to place; that it is one of these is a hole.
         case when c.relowner in (select r.oid
                                    from pg_catalog.pg_roles r
                                   where r.rolname in ('anon', 'authenticated', 'service_role', 'authenticator',
                                                       'cgm_request', 'cgm_worker'))
              then 'owned by ' || pg_catalog.pg_get_userbyid(c.relowner) end) as definition
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p', 'v', 'm', 'S')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));

-- name: columns
-- type, nullability and default; their order does not matter
select format('%I.%I', n.nspname, c.relname) as table_name,
       quote_ident(a.attname) as name,
       concat_ws(' ',
         pg_catalog.format_type(a.atttypid, a.atttypmod),
         (select format('collate %I', o.collname)
            from pg_catalog.pg_collation o
            join pg_catalog.pg_type y on y.oid = a.atttypid
           where o.oid = a.attcollation and o.oid <> y.typcollation),
         case when a.attnotnull then 'not null' end,
         case when a.attidentity <> '' then 'identity' end,
         case when a.attgenerated <> '' then 'generated as' when d.adbin is not null then 'default' end,
         pg_catalog.pg_get_expr(d.adbin, d.adrelid)) as definition
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where c.relkind in ('r', 'p')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));

-- name: constraints
-- keys, references and checks; uniqueness by constraint is told by the indexes, a reference to a table in parts once
select format('%I.%I', n.nspname, c.relname) as table_name,
       quote_ident(o.conname) as name,
       pg_catalog.pg_get_constraintdef(o.oid) as definition
  from pg_catalog.pg_constraint o
  join pg_catalog.pg_class c on c.oid = o.conrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where o.contype in ('p', 'f', 'c', 'x')
   and o.conparentid = 0
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));

-- name: indexes
-- indexes by definition, those of a table in parts like any other; those of primary keys are told by the constraints
select format('%I.%I', n.nspname, c.relname) as table_name,
       quote_ident(i.relname) as name,
       concat_ws(' ',
         replace(pg_catalog.pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON '),
         case when not x.indisvalid then '(invalid)' end,
         (select case when o.condeferrable then '(by a deferrable constraint)' else '(by a constraint)' end
            from pg_catalog.pg_constraint o
           where o.conindid = x.indexrelid and o.contype = 'u')) as definition
  from pg_catalog.pg_index x
  join pg_catalog.pg_class c on c.oid = x.indrelid
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where not x.indisprimary
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));

-- name: policies
-- row-level security policies: kind, command, roles, expressions
select format('%I.%I', n.nspname, c.relname) as table_name,
       quote_ident(p.polname) as name,
       concat_ws(' ',
         case when p.polpermissive then 'permissive' else 'restrictive' end,
         'for',
         case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
                       else 'all' end,
         'to',
         (select string_agg(case when r.oid = 0 then 'public' else pg_catalog.pg_get_userbyid(r.oid)::text end, ', '
                            order by pg_catalog.pg_get_userbyid(r.oid)::text)
            from unnest(p.polroles) as r (oid)),
         'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
         'with check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) as definition
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('cgm_private', 'cgm_jobs')
       or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings');

-- name: triggers
-- triggers, with what they call
select format('%I.%I', n.nspname, c.relname) as table_name,
       quote_ident(t.tgname) as name,
       concat_ws(' ',
         pg_catalog.pg_get_triggerdef(t.oid),
         case t.tgenabled when 'D' then '(disabled)' when 'R' then '(replica)' when 'A' then '(always)' end) as definition
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_class c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));

-- name: functions
-- our functions and the three that tell who is asking; bodies as a hash
select format('%I.%I', n.nspname, p.proname) as table_name,
       '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' as name,
       concat_ws(' ',
         'returns', pg_catalog.pg_get_function_result(p.oid),
         'language', (select l.lanname from pg_catalog.pg_language l where l.oid = p.prolang),
         case p.provolatile when 's' then 'stable' when 'i' then 'immutable' else 'volatile' end,
         case when p.prosecdef then 'security definer' end,
         'set ' || array_to_string(p.proconfig, ', '),
         'body ' || left(encode(sha256(convert_to(regexp_replace(b.body, '\s+', ' ', 'g'), 'UTF8')), 'hex'), 16))
         as definition
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 cross join lateral (select coalesce(nullif(p.prosrc, ''), pg_catalog.pg_get_function_sqlbody(p.oid), '') as body) as b
 where n.nspname in ('cgm_private', 'cgm_jobs')
       or n.nspname = 'auth' and p.proname in ('uid', 'role', 'jwt') and p.pronargs = 0;

-- name: grants
-- what others than its owner may do with a table or sequence, columns included; MAINTAIN is not in every server
select format('%I.%I', n.nspname, c.relname) as table_name,
       g.grantee as name,
       string_agg(g.privilege, ', ' order by g.privilege) as definition
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
         select case when x.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(x.grantee)::text end as grantee,
                lower(x.privilege_type) as privilege
           from aclexplode(c.relacl) as x
          where x.grantee <> c.relowner and x.privilege_type <> 'MAINTAIN'
         union all
         select case when x.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(x.grantee)::text end,
                format('%s (%I)', lower(x.privilege_type), a.attname)
           from pg_catalog.pg_attribute a
          cross join lateral aclexplode(a.attacl) as x
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and x.grantee <> c.relowner
       ) as g
 where c.relkind in ('r', 'p', 'v', 'm', 'S')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
 group by n.nspname, c.relname, g.grantee;

-- name: schema_grants
-- who besides their owner may look into our schemas, or make something there
select quote_ident(n.nspname) as table_name,
       case when x.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(x.grantee)::text end as name,
       string_agg(lower(x.privilege_type), ', ' order by lower(x.privilege_type)) as definition
  from pg_catalog.pg_namespace n
 cross join lateral aclexplode(n.nspacl) as x
 where n.nspname in ('cgm_private', 'cgm_jobs') and x.grantee <> n.nspowner
 group by n.nspname, x.grantee;

-- name: function_grants
-- who besides its owner may call a function of ours; without a grant ever given, everybody may
select format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) as table_name,
       case when x.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(x.grantee)::text end as name,
       'execute' as definition
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as x
 where n.nspname in ('cgm_private', 'cgm_jobs') and x.grantee <> p.proowner;

-- name: roles
-- the service's two group roles, and whose members they are
select quote_ident(r.rolname) as name,
       concat_ws(', ',
         case when r.rolsuper then 'superuser' end,
         case when r.rolbypassrls then 'passes row-level security' end,
         case when r.rolcanlogin then 'may log in' else 'group' end,
         case when r.rolinherit then 'inherits' end,
         'member of ' || (
           select string_agg(pg_catalog.pg_get_userbyid(m.roleid)::text, ', ' order by pg_catalog.pg_get_userbyid(m.roleid)::text)
             from pg_catalog.pg_auth_members m
            where m.member = r.oid)) as definition
  from pg_catalog.pg_roles r
 where r.rolname in ('cgm_request', 'cgm_worker')
   -- roles belong to the whole server: they say nothing of a database that has not been migrated
   and exists (select from pg_catalog.pg_namespace n where n.nspname = 'cgm_private');

-- name: default_privileges
-- what new tables grant by themselves: the habit of Supabase projects made before 2026-05-30
select coalesce(n.nspname::text, 'everywhere') as name,
       string_agg(distinct case when x.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(x.grantee)::text end, ', ')
         as definition
  from pg_catalog.pg_default_acl d
  left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
  cross join lateral aclexplode(d.defaclacl) as x
 where d.defaclobjtype = 'r' and x.grantee <> d.defaclrole and (n.nspname = 'public' or n.nspname is null)
 group by n.nspname;

-- name: history_readable
-- no row: no history; false: it may not be read (asked without naming it, which would be an error then)
select has_schema_privilege(n.oid, 'usage')
       and has_column_privilege(c.oid, 'version', 'select')
       and has_column_privilege(c.oid, 'name', 'select') as readable
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations';

-- name: history
-- the recorded versions
select version, coalesce(name, '') as name
  from supabase_migrations.schema_migrations
 order by version;

-- name: has_service_role
-- whether there is one to be granted something
select to_regrole('service_role') is not null as there;

-- name: server
-- its version, and what kind of role owns the connections (its name is the project's own matter)
select split_part(current_setting('server_version'), ' ', 1) as version,
       coalesce(
         (select case when r.rolsuper then 'a superuser' when r.rolbypassrls then 'a role that passes row-level security'
                      else 'a plain role' end
            from pg_catalog.pg_class c
            join pg_catalog.pg_roles r on r.oid = c.relowner
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'public' and c.relname = 'cgm_connections'), '') as owner;
