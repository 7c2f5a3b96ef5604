-- name: due
-- Connections whose time has come, and how long the first of them has waited; what waits for the end of a pause is no
-- backlog. Reads the index of what is due place by place, as the scheduler does, no further than it counts.
with recursive places as (
  (
    select s.provider, s.region
    from cgm_private.sync_state s
    where s.next_sync_at is not null
    order by s.provider, s.region
    limit 1
  )
  union all
  select later.provider, later.region
  from places p
  cross join lateral (
    select s.provider, s.region
    from cgm_private.sync_state s
    where s.next_sync_at is not null
      and (s.provider, s.region) > (p.provider, p.region)
    order by s.provider, s.region
    limit 1
  ) later
)
select count(*) as connections,
       coalesce(extract(epoch from now() - min(d.next_sync_at)), 0)::float8 as waiting_s
from (
  select waiting.next_sync_at
  from places p
  cross join lateral (
    select s.next_sync_at
    from cgm_private.sync_state s
    join public.cgm_connections c on c.id = s.connection_id
    where s.provider = p.provider
      and s.region = p.region
      and s.next_sync_at <= now()
      and c.status in ('connected', 'error')
    order by s.next_sync_at
    limit %(most)s
  ) waiting
  where not exists (
    select from cgm_private.provider_pauses h
    where h.provider = p.provider and h.region = p.region and h.until > now() and not h.over
  )
  order by waiting.next_sync_at
  limit %(most)s
) d

-- name: oldest_jobs
-- For how long the oldest job that may be taken waits, and the oldest that was taken runs; 0 where there is none.
select coalesce(extract(epoch from now() - (
         select min(oldest.execute_after)
         from unnest(%(entrypoints)s::text[]) as kind
         cross join lateral (
           select j.execute_after
           from cgm_jobs.pgqueuer j
           where j.status = 'queued'
             and j.entrypoint = kind
             and j.execute_after <= now()
           order by j.execute_after
           limit 1
         ) oldest
       )), 0)::float8 as waiting_s,
       coalesce(extract(epoch from now() - (
         select min(j.created) from cgm_jobs.pgqueuer j where j.status = 'picked'
       )), 0)::float8 as running_s

-- name: last_sync
-- When a sync of any connection last ended well; reads all of them, for a check-up by hand alone.
select max(c.last_sync_at) at time zone 'UTC' as at, count(*) filter (where c.status = 'connected') as connected
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
