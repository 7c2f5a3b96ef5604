-- name: clock
select clock_timestamp() as now

-- name: history_there
-- whether the history of migrations is there for us to read
select to_regclass('supabase_migrations.schema_migrations') is not null
       and has_schema_privilege('supabase_migrations', 'usage') as there

-- name: recorded
-- the migrations that have been applied, ours and the host's
select version from supabase_migrations.schema_migrations

-- name: connections
-- how many connections there are of each kind; ours: the service syncs them
select c.provider::text as provider, s.region, c.status::text as status, s.reason,
       s.connection_id is not null as ours, count(*) as connections
from public.cgm_connections c
left join cgm_private.sync_state s on s.connection_id = c.id
group by 1, 2, 3, 4, 5
order by 1, 2, 3, 4

-- name: old_consents
-- how many connections that work were consented to before a moment, by region
select s.region, count(*) as connections
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.provider = %(provider)s::"CGMProvider"
  and c.status = 'connected'
  and s.reason is null
  and coalesce(s.connected_at, c.created_at at time zone 'UTC') <= now() - %(age)s::interval
group by 1
order by 1

-- name: lock_alarm
-- One at a time decides whether the operator of a region has been called.
select pg_advisory_xact_lock(hashtextextended('evercgm alarm ' || %(provider)s || '/' || %(region)s, 0))

-- name: others_in_alarm
-- whether another connection of the region suffers the same already
select exists (
  select from cgm_private.sync_state s
  join public.cgm_connections c on c.id = s.connection_id
  where c.provider::text = %(provider)s
    and s.region = %(region)s
    and s.reason = %(reason)s
    and s.connection_id <> %(connection_id)s
) as others

-- name: routes_in_alarm
-- whether such a way in beside another connection suffers the same already
select exists (
  select from cgm_private.routes r
  where r.route = %(provider)s
    and r.region = %(region)s
    and r.reason = %(reason)s
    and r.connection_id <> %(connection_id)s
) as others

-- name: pauses
-- for what each place is paused; one whose time is over counts until a call was answered
select p.provider, p.region, p.reason from cgm_private.provider_pauses p where not p.over
