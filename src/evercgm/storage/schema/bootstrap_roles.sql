-- The roles of a Supabase project. Roles belong to the whole server: created only where missing, never changed.
do $$
declare
  wrong text;
begin
  begin
    if to_regrole('anon') is null then
      create role anon nologin noinherit;
    end if;
    if to_regrole('authenticated') is null then
      create role authenticated nologin noinherit;
    end if;
    if to_regrole('service_role') is null then
      create role service_role nologin noinherit bypassrls;
    end if;
    if to_regrole('authenticator') is null then
      create role authenticator login noinherit;
      grant anon, authenticated, service_role to authenticator;
    end if;
  exception when duplicate_object or unique_violation then
    raise notice 'another session has just created the roles';
  end;

  select string_agg(r.rolname, ', ')
    into wrong
    from pg_catalog.pg_roles r
   where (r.rolname in ('anon', 'authenticated') and (r.rolsuper or r.rolbypassrls or r.rolcanlogin))
      or (r.rolname in ('service_role', 'authenticator') and r.rolsuper);
  if wrong is not null then
    raise exception 'roles of these names have other rights than expected: %', wrong;
  end if;
end
$$;
