-- What a role may do beyond the service's work. Only pg_catalog is read, so any role may ask about any other.

-- name: excess
-- one row a right too many. A membership counts where it lets the role become another, at once (SET) or after giving
-- itself the right to (ADMIN); before PostgreSQL 16 every membership does, and CREATEROLE gives any.
with recursive reach (role, depth) as (
  select r.oid, 0
    from pg_catalog.pg_roles r
   where r.rolname = %(role)s
  union
  select m.roleid, 1
    from reach
    join pg_catalog.pg_auth_members m on m.member = reach.role
   where m.admin_option or coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
),
reached (oid, name, itself, super, bypass, replicates, makes_roles) as (
  select r.oid, r.rolname::text, bool_or(reach.depth = 0), r.rolsuper, r.rolbypassrls, r.rolreplication, r.rolcreaterole
    from reach
    join pg_catalog.pg_roles r on r.oid = reach.role
   group by r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolreplication, r.rolcreaterole
),
owned (owner, schema) as (
  select c.relowner, n.nspname::text
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where c.relkind in ('r', 'p')
     and (n.nspname in ('cgm_private', 'cgm_jobs')
          or n.nspname = 'public' and c.relname in ('Person', 'cgm_connections', 'glucose_readings'))
  union
  select n.nspowner, n.nspname::text
    from pg_catalog.pg_namespace n
   where n.nspname in ('cgm_private', 'cgm_jobs')
)
select case when r.itself then 'is a superuser' else 'may become the superuser ' || r.name end as excess
  from reached r
 where r.super
union
select case when r.itself then 'bypasses row-level security'
            else 'may become ' || r.name || ', which bypasses row-level security' end
  from reached r
 where r.bypass and not r.super
union
select 'may become service_role'
  from reached r
 where r.name = 'service_role' and not r.itself and not r.bypass
union
select 'may become service_role (CREATEROLE, before PostgreSQL 16)'
  from reached r
 where r.makes_roles and current_setting('server_version_num')::integer < 160000
union
select case when r.itself then 'may replicate the whole server' else 'may become ' || r.name || ', which replicates the server' end
  from reached r
 where r.replicates and not r.super
union
select 'may become ' || r.name || ', which reaches the server''s files and programs'
  from reached r
 where r.name in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') and not r.itself
union
-- An owner passes row-level security, also one whose rights are only inherited. A superuser's are told above.
select 'owns tables of ours (in ' || string_agg(distinct o.schema, ', ') || ')'
  from owned o
 where not exists (select from reached r where r.super)
   and (exists (select from reached r where r.oid = o.owner)
        or exists (select from pg_catalog.pg_roles r where r.rolname = %(role)s and pg_has_role(r.oid, o.owner, 'usage')))
having count(*) > 0
 order by 1

-- name: session
-- who logged in, and whether the database is migrated; whoever a session acts as, it can go back to its login role
select session_user::text as role,
       exists (select from pg_catalog.pg_namespace where nspname = 'cgm_private') as migrated
