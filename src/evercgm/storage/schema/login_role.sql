-- The service's login role: inherits nothing, passes no row-level security, may become cgm_request and cgm_worker.
do $$
begin
  if to_regrole('service_login') is null then
    create role service_login login noinherit nosuperuser nocreatedb nocreaterole noreplication;
  end if;
  if (select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = 'service_login') then
    raise exception 'role service_login is a superuser or passes row-level security: choose another name';
  end if;
  alter role service_login login noinherit;
  alter role service_login set timezone = 'UTC';
  if current_setting('server_version_num')::integer >= 160000 then
    execute 'grant cgm_request to service_login with admin false, inherit false, set true';
    execute 'grant cgm_worker to service_login with admin false, inherit false, set true';
  else
    grant cgm_request to service_login;
    grant cgm_worker to service_login;
  end if;
end
$$;
