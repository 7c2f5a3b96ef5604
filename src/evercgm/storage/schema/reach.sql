-- name: rights
-- what stands in the way of a migration: a text, or null. An owner sees all rows unless security is forced on owners.
select current_user::text as role,
       pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only,
       coalesce(
         (select string_agg(format('%s belongs to %s', c.oid::regclass, pg_catalog.pg_get_userbyid(c.relowner)), ', '
                            order by c.relname)
            from pg_catalog.pg_class c
           where c.relnamespace = 'public'::regnamespace
             and c.relname in ('Person', 'cgm_connections', 'glucose_readings')
             and not pg_has_role(c.relowner, 'usage')),
         case when not has_schema_privilege('public', 'create') then 'it may make nothing in schema public' end,
         case when not has_database_privilege(current_database(), 'create') then 'it may make no schema here' end,
         -- The conversion of provider works with temporary tables.
         case when not has_database_privilege(current_database(), 'temporary')
                   and not exists (
                     select from pg_catalog.pg_attribute a
                       join pg_catalog.pg_class c on c.oid = a.attrelid
                      where c.relnamespace = 'public'::regnamespace and c.relname = 'cgm_connections'
                        and a.attname = 'provider' and a.atttypid <> 'text'::regtype)
              then 'it may make no temporary tables here' end,
         -- The history is asked of the catalog: to name it without the right to its schema is an error.
         (select case
                   when not has_schema_privilege(h.schema, 'usage')
                        or h.history is not null and not has_any_column_privilege(h.history, 'select')
                     then 'it may not read the history supabase_migrations.schema_migrations'
                   when h.history is null and not has_schema_privilege(h.schema, 'create')
                        or h.history is not null and not has_table_privilege(h.history, 'insert')
                     then 'it may not write the history supabase_migrations.schema_migrations'
                 end
            from (select n.oid as schema,
                         (select c.oid
                            from pg_catalog.pg_class c
                           where c.relnamespace = n.oid and c.relname = 'schema_migrations') as history
                    from pg_catalog.pg_namespace n
                   where n.nspname = 'supabase_migrations') as h),
         case when not (me.rolsuper or me.rolcreaterole)
                   and (to_regrole('cgm_request') is null or to_regrole('cgm_worker') is null)
              then 'it may make no roles (CREATEROLE)' end,
         -- From PostgreSQL 16 on, handing a role on takes its admin option.
         case when to_regrole('authenticated') is not null
                   and (to_regrole('cgm_request') is null or not pg_has_role('cgm_request', 'authenticated', 'usage'))
                   and not (me.rolsuper
                            or me.rolcreaterole and current_setting('server_version_num')::integer < 160000
                            or pg_has_role('authenticated', 'usage with admin option'))
              then 'it may not hand on the role authenticated (GRANT authenticated TO … WITH ADMIN OPTION)' end
       ) as missing,
       (select string_agg(c.oid::regclass::text, ', ' order by c.relname)
          from pg_catalog.pg_class c
         where c.relnamespace = 'public'::regnamespace
           and c.relname in ('cgm_connections', 'glucose_readings')
           and has_table_privilege(c.oid, 'select')
           and row_security_active(c.oid)) as filtered
  from pg_catalog.pg_roles me
 where me.rolname = current_user;
