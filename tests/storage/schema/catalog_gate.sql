-- The gate: each query answers the offenders, one a row, and must answer none. "Ours" are public.cgm_connections, our
-- policies and our column on the host app's two tables, and everything in cgm_private and cgm_jobs, partitions and
-- sequences included. The job engine's tables are guarded by grants alone, so row-level security is not asked of them.

-- name: tables_without_row_level_security
select c.oid::regclass::text
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and not c.relrowsecurity
   and (n.nspname = 'cgm_private' or n.nspname = 'public' and c.relname = 'cgm_connections');

-- name: tables_that_force_it_on_their_owner
select c.oid::regclass::text
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relforcerowsecurity
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections');

-- name: policies_without_row_level_security
select p.polname || ' on ' || c.oid::regclass
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not c.relrowsecurity
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections');

-- name: row_level_security_without_policies
select c.oid::regclass::text
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and c.relrowsecurity
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
   and not exists (select from pg_policy p where p.polrelid = c.oid);

-- name: update_policies_without_with_check
select p.polname || ' on ' || c.oid::regclass
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 where p.polcmd in ('w', '*')
   and p.polwithcheck is null
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections'
        or array[to_regrole('cgm_request')::oid, to_regrole('cgm_worker')::oid] && p.polroles);

-- name: policies_to_public
select p.polname || ' on ' || c.oid::regclass
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 where 0 = any (p.polroles)
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections');

-- name: identity_asked_once_a_row
-- auth.uid() and its like outside a select are called for each row
select p.polname || ' on ' || c.oid::regclass
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 cross join lateral (values (pg_get_expr(p.polqual, p.polrelid)), (pg_get_expr(p.polwithcheck, p.polrelid))) as e (text)
 where regexp_replace(e.text, 'SELECT (auth\.\w+|current_setting)\(', '', 'g') ~ '(auth\.\w+|current_setting)\('
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections');

-- name: overlapping_permissive_policies
-- two permissive policies for one role and one command are both evaluated
select c.oid::regclass || ', ' || r.role::regrole || ', ' || v.verb
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 cross join unnest(p.polroles) as r (role)
 cross join unnest(case p.polcmd when '*' then array['r', 'a', 'w', 'd'] else array[p.polcmd::text] end) as v (verb)
 where p.polpermissive
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
 group by c.oid, r.role, v.verb
having count(*) > 1;

-- name: foreign_keys_without_index
select k.conname || ' on ' || c.oid::regclass
  from pg_constraint k
  join pg_class c on c.oid = k.conrelid
  join pg_namespace n on n.oid = c.relnamespace
 where k.contype = 'f'
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('cgm_connections', 'glucose_readings'))
   and not exists (
     select from pg_index i
      where i.indrelid = k.conrelid
        and i.indisvalid
        and i.indpred is null
        and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
   );

-- name: secrets_open_to_the_api
-- tokens, cursor, metadata of the connections; of our own schemas, any column
select format('%s.%s to %s', c.oid::regclass, a.attname, r.rolname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 where c.relkind in ('r', 'p', 'v', 'm')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname = 'cgm_connections'
           and a.attname in ('access_token', 'refresh_token', 'sync_cursor', 'metadata'))
   and has_column_privilege(r.oid, c.oid, a.attnum, 'select');

-- name: writing_open_to_the_api
select format('%s to %s', c.oid::regclass, r.rolname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 where c.relkind in ('r', 'p', 'v')
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
   and (has_any_column_privilege(r.oid, c.oid, 'insert, update')
        or has_table_privilege(r.oid, c.oid, 'delete') and not (r.rolname = 'authenticated' and n.nspname = 'public'));

-- name: rights_beyond_rows_of_the_api
select format('%s on %s to %s', p.privilege, c.oid::regclass, r.rolname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 cross join unnest(array['truncate', 'references', 'trigger']
                   || case when current_setting('server_version_num')::int >= 170000 then array['maintain'] else '{}' end)
            as p (privilege)
 where c.relkind in ('r', 'p')
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
   and case p.privilege when 'references' then has_any_column_privilege(r.oid, c.oid, p.privilege)
                        else has_table_privilege(r.oid, c.oid, p.privilege) end;

-- name: sequences_open_to_the_api
select format('%s to %s', c.oid::regclass, r.rolname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 where c.relkind = 'S'
   and n.nspname in ('cgm_private', 'cgm_jobs')
   and has_sequence_privilege(r.oid, c.oid, 'usage, select, update');

-- name: schemas_open_to_the_api
select format('%s to %s', n.nspname, r.rolname)
  from pg_namespace n
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 where n.nspname in ('cgm_private', 'cgm_jobs') and has_schema_privilege(r.oid, n.oid, 'usage, create');

-- name: secrets_open_to_persons
-- what acts for a person sees no secret of the service; the transmitter is stored as a hash on purpose, and shown to no one
select format('%s.%s', c.oid::regclass, a.attname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relkind in ('r', 'p', 'v', 'm')
   and (n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections')
   and (a.attname ~ 'token|secret|sealed|hash|verifier|private|cursor|metadata|jwk' or a.attname in ('session', 'payload')
        or c.relname in ('quarantined_connections', 'routes', 'sessions', 'sign_in_links', 'signing_keys', 'oauth_attempts'))
   and a.attname not in ('token_expires_at', 'token_lifetime_s', 'transmitter_hash')
   and has_column_privilege('cgm_request', c.oid, a.attnum, 'select');

-- name: functions_with_a_loose_search_path
select p.oid::regprocedure::text
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
 where n.nspname in ('cgm_private', 'cgm_jobs')
   and not exists (select from unnest(p.proconfig) as s (setting) where s.setting like 'search_path=%');

-- name: functions_open_to_the_api
select format('%s to %s', p.oid::regprocedure, r.rolname)
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_roles r on r.rolname in ('anon', 'authenticated')
 where n.nspname in ('cgm_private', 'cgm_jobs') and has_function_privilege(r.oid, p.oid, 'execute');

-- name: service_roles_that_may_do_more
-- the two group roles, and whoever logs in and may become one of them: what each is, and what it may become
with recursive memberships (member, role) as (
  select m.member, m.roleid
    from pg_auth_members m
   where m.admin_option or coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
),
service (role) as (
  select r.oid from pg_roles r where r.rolname in ('cgm_request', 'cgm_worker')
  union
  select m.member
    from service s
    join memberships m on m.role = s.role
    join pg_roles r on r.oid = m.member
   -- whoever made the two groups may hand them on; that role migrates, it does not serve
   where r.rolcanlogin and not r.rolcreaterole
),
reach (role, other) as (
  select s.role, s.role from service s
  union
  select r.role, m.role from reach r join memberships m on m.member = r.other
)
select distinct r.role::regrole || ': ' || o.rolname
  from reach r
  join pg_roles o on o.oid = r.other
 where o.rolsuper
       or o.rolbypassrls
       or o.rolreplication
       or o.rolname = 'service_role'
       or exists (
         select from pg_class c
           join pg_namespace n on n.oid = c.relnamespace
          where c.relowner = o.oid
            and (n.nspname in ('cgm_private', 'cgm_jobs')
                 or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
       );

-- name: groups_that_may_log_in
select r.rolname
  from pg_roles r
 where r.rolname in ('cgm_request', 'cgm_worker') and r.rolcanlogin;

-- name: login_roles_that_inherit
-- the service's login role has no right of its own: it must become one of the two to do anything
select r.rolname || ' inherits ' || g.rolname
  from pg_auth_members m
  join pg_roles r on r.oid = m.member
  join pg_roles g on g.oid = m.roleid
 where g.rolname in ('cgm_request', 'cgm_worker')
   and r.rolcanlogin
   and not r.rolcreaterole
   and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit);

-- name: grants_to_others_in_our_schemas
-- only our two groups are granted anything there, whatever a project's default privileges are
select format('%s to %s', g.object, case when g.grantee = 0 then 'public' else g.grantee::regrole::text end)
  from (
    select c.oid::regclass::text as object, x.grantee, c.relowner as owner
      from pg_class c
     cross join lateral aclexplode(c.relacl) x
     where c.relnamespace::regnamespace::text in ('cgm_private', 'cgm_jobs')
    union
    select c.oid::regclass || '.' || a.attname, x.grantee, c.relowner
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid
     cross join lateral aclexplode(a.attacl) x
     where c.relnamespace::regnamespace::text in ('cgm_private', 'cgm_jobs')
    union
    select p.oid::regprocedure::text, x.grantee, p.proowner
      from pg_proc p
     cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
     where p.pronamespace::regnamespace::text in ('cgm_private', 'cgm_jobs')
    union
    select n.nspname::text, x.grantee, n.nspowner
      from pg_namespace n
     cross join lateral aclexplode(n.nspacl) x
     where n.nspname in ('cgm_private', 'cgm_jobs')
  ) as g
 where g.grantee <> g.owner
   and g.grantee not in (select r.oid from pg_roles r where r.rolname in ('cgm_request', 'cgm_worker'));

-- name: members_of_the_groups
-- whoever logs in for the service, and whoever made the groups; never a role of the API, nor the one group in the other
with recursive members (role, member) as (
  select m.roleid, m.member
    from pg_auth_members m
    join pg_roles g on g.oid = m.roleid
   where g.rolname in ('cgm_request', 'cgm_worker')
  union
  select s.role, m.member from members s join pg_auth_members m on m.roleid = s.member
)
select format('%s in %s', s.member::regrole, s.role::regrole)
  from members s
  join pg_roles r on r.oid = s.member
 where not r.rolcanlogin or r.rolname = 'authenticator';

-- name: groups_in_another_form
-- cgm_request inherits from authenticated alone, cgm_worker is a member of nothing
select format('%s: %s', r.rolname, f.form)
  from pg_roles r
 cross join lateral (
   select concat_ws(', ',
            case when r.rolinherit then 'inherits' end,
            case when r.rolcreaterole then 'makes roles' end,
            case when r.rolcreatedb then 'makes databases' end,
            (select 'member of ' || string_agg(distinct m.roleid::regrole::text, ', ')
               from pg_auth_members m
              where m.member = r.oid)) as form
 ) as f
 where r.rolname = 'cgm_request' and f.form <> 'inherits, member of authenticated'
    or r.rolname = 'cgm_worker' and f.form <> 'inherits';

-- name: views_over_our_tables
-- a view has its owner's rights: none stands on a table of ours, nor on another view that does
with recursive over (view) as (
  select w.ev_class
    from pg_rewrite w
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
    join pg_class c on c.oid = d.refobjid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_class v on v.oid = w.ev_class and v.relkind in ('v', 'm')
   where n.nspname in ('cgm_private', 'cgm_jobs') or n.nspname = 'public' and c.relname = 'cgm_connections'
  union
  select w.ev_class
    from over o
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.view and d.classid = 'pg_rewrite'::regclass
    join pg_rewrite w on w.oid = d.objid
)
select o.view::regclass::text from over o;

-- name: references_that_do_nothing
select format('%s on %s', k.conname, t.tgrelid::regclass)
  from pg_trigger t
  join pg_constraint k on k.oid = t.tgconstraint
  join pg_class c on c.oid = k.conrelid
  join pg_namespace n on n.oid = c.relnamespace
 where t.tgisinternal
   and t.tgenabled <> 'O'
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('cgm_connections', 'glucose_readings'));

-- name: triggers_that_do_not_fire
select format('%s on %s', t.tgname, t.tgrelid::regclass)
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not t.tgisinternal
   and t.tgenabled <> 'O'
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('cgm_connections', 'glucose_readings'));

-- name: rules_on_our_tables
-- a rule would rewrite what the references do, too
select format('%s on %s', w.rulename, w.ev_class::regclass)
  from pg_rewrite w
  join pg_class c on c.oid = w.ev_class
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and (n.nspname in ('cgm_private', 'cgm_jobs')
        or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'));
