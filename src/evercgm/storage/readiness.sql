-- name: history_there
-- whether the service may read the history of migrations
select to_regclass('supabase_migrations.schema_migrations') is not null
       and has_schema_privilege('cgm_worker', 'supabase_migrations', 'usage') as there;

-- name: migration_recorded
-- whether a migration has been applied
select version
  from supabase_migrations.schema_migrations
 where version = %(version)s;
