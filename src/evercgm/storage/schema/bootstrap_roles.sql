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

  -- As a Supabase project has them. May: nothing that is not named.
  select string_agg(format('role %s is %s, expected %s', h.name, h.form, w.form), '; ' order by h.name)
    into wrong
    from (values
           ('anon', 'nologin noinherit'),
           ('authenticated', 'nologin noinherit'),
           ('service_role', 'nologin noinherit bypassrls'),
           ('authenticator', 'login noinherit')
         ) as w (name, form)
    join (
           select r.rolname::text as name,
                  concat_ws(' ',
                    case when r.rolsuper then 'superuser' end,
                    case when r.rolcanlogin then 'login' else 'nologin' end,
                    case when r.rolinherit then 'inherit' else 'noinherit' end,
                    case when r.rolbypassrls then 'bypassrls' end,
                    case when r.rolcreaterole then 'createrole' end,
                    case when r.rolcreatedb then 'createdb' end,
                    case when r.rolreplication then 'replication' end) as form
             from pg_catalog.pg_roles r
         ) as h using (name)
   where h.form <> w.form;
  if wrong is not null then
    raise exception 'roles of a host app have another form: %', wrong
      using hint = 'they belong to the whole server: does another app use them?';
  end if;
end
$$;
