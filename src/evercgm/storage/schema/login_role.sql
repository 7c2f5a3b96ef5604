-- The service's login role: inherits nothing, passes no row-level security, may become cgm_request and cgm_worker.
do $$
declare
  others text;
begin
  if to_regrole('service_login') is null then
    create role service_login login noinherit nosuperuser nocreatedb nocreaterole noreplication;
  end if;
  if (select r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication
        from pg_catalog.pg_roles r
       where r.rolname = 'service_login') then
    raise exception 'role service_login may do more than the service needs (superuser, BYPASSRLS, CREATEROLE, CREATEDB or REPLICATION)'
      using hint = 'choose another name, or take it away: alter role service_login nosuperuser nobypassrls nocreaterole nocreatedb noreplication';
  end if;
  select string_agg(quote_ident(r.rolname), ', ' order by r.rolname)
    into others
    from pg_catalog.pg_auth_members m
    join pg_catalog.pg_roles r on r.oid = m.roleid
   where m.member = 'service_login'::regrole and r.rolname not in ('cgm_request', 'cgm_worker');
  if others is not null then
    raise exception 'role service_login is a member of %', others
      using hint = 'choose another name, or take it away: revoke ' || others || ' from service_login';
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
