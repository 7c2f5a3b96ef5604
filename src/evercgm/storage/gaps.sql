-- What may explain holes in a person's readings. Run as cgm_request; each query names the owner itself, as in views.sql.

-- name: holes
-- Neighbours in the person's series that lie further apart than their connection's cadence allows, newest first; the
-- reading before the period and the one after it belong to it. The last row may have no neighbour: it is open to now.
with own as (
  select p.id
  from public."Person" p
  where p.id = %(person_id)s
    and p."ownerId" = (select auth.uid())::text
),
inside as (
  select r.id, r."timestamp", r.cgm_connection_id
  from own
  join public.glucose_readings r on r.person_id = own.id
  where r."timestamp" >= %(start)s::timestamptz at time zone 'UTC'
    and r."timestamp" < %(end)s::timestamptz at time zone 'UTC'
    and r.source = 'cgm'
    and r.value between 0 and 1000
),
before as (
  select b.id, b."timestamp", b.cgm_connection_id
  from own
  cross join lateral (
    select r.id, r."timestamp", r.cgm_connection_id
    from public.glucose_readings r
    where r.person_id = own.id
      and r."timestamp" < %(start)s::timestamptz at time zone 'UTC'
      and r."timestamp" >= timestamp '1970-01-01'
      and r.source = 'cgm'
      and r.value between 0 and 1000
    order by r."timestamp" desc
    limit 1
  ) b
),
after as (
  select a.id, a."timestamp", a.cgm_connection_id
  from own
  cross join lateral (
    select r.id, r."timestamp", r.cgm_connection_id
    from public.glucose_readings r
    where r.person_id = own.id
      and r."timestamp" >= %(end)s::timestamptz at time zone 'UTC'
      and r."timestamp" < timestamp '3000-01-01'
      and r.source = 'cgm'
      and r.value between 0 and 1000
    order by r."timestamp"
    limit 1
  ) a
),
pairs as (
  select s.id, s."timestamp", s.cgm_connection_id,
         lead(s.id) over w as next_id, lead(s."timestamp") over w as next_timestamp,
         lead(s.cgm_connection_id) over w as next_connection_id
  from (
    select * from before
    union all
    select * from inside
    union all
    select * from after
  ) s
  window w as (order by s."timestamp", s.id)
),
found as (
  select p.*
  from pairs p
  left join unnest(%(connection_ids)s::text[], %(holes_s)s::float8[]) as c (id, hole_s) on c.id = p.cgm_connection_id
  where p.next_timestamp is null
     or p.next_timestamp - p."timestamp" > make_interval(secs => coalesce(c.hole_s, %(hole_s)s))
  order by p."timestamp" desc
  limit %(most)s
)
select f."timestamp" at time zone 'UTC' as before_at, f.cgm_connection_id as before_connection,
       f.next_timestamp at time zone 'UTC' as after_at, f.next_connection_id as after_connection,
       d.transmitter_hash as before_transmitter, d.transmitter_ticks as before_ticks,
       n.transmitter_hash as after_transmitter, n.transmitter_ticks as after_ticks
from found f
left join lateral (
  select x.transmitter_hash, x.transmitter_ticks
  from cgm_private.reading_details x
  where x.reading_id = f.id
    and x.transmitter_hash is not null
  limit 1
) d on true
left join lateral (
  select x.transmitter_hash, x.transmitter_ticks
  from cgm_private.reading_details x
  where x.reading_id = f.next_id
    and x.transmitter_hash is not null
  limit 1
) n on true
order by f."timestamp" desc

-- name: sources
-- The person's connections, the newest first. Without sync_state: the host app's own. by_other_ways: it has no login of
-- its own; what came is all that there is.
select c.id, c.provider::text as provider, c.status::text as status, c.device_id, s.region,
       c.token_expires_at >= timestamp '9999-12-31' and s.region is distinct from %(by_file)s as by_other_ways,
       case when s.connection_id is null then 'not_adopted' else s.reason end as reason,
       coalesce(s.connected_at,
         least(greatest(c.created_at, timestamp '1970-01-01'), timestamp '2999-12-31') at time zone 'UTC') as connected_at,
       case when c.last_sync_at >= timestamp '1970-01-01' and c.last_sync_at < timestamp '3000-01-01'
            then c.last_sync_at at time zone 'UTC' end as last_sync_at,
       s.next_sync_at, s.history_done_at is not null as history_done, s.history_start, now() as now
from public.cgm_connections c
join public."Person" p on p.id = c.person_id
left join cgm_private.sync_state s on s.connection_id = c.id
where c.person_id = %(person_id)s
  and p."ownerId" = (select auth.uid())::text
order by connected_at desc, c.id

-- name: set_aside
-- Records that are no readings, by the time that the vendor wrote into them.
select r.measured_text, r.reason
from cgm_private.rejected_records r
join public."Person" p on p.id = r.person_id
where r.person_id = %(person_id)s
  and p."ownerId" = (select auth.uid())::text
  and r.measured_text is not null
order by r.received_at desc
limit %(most)s

-- name: troubles
-- When nothing was fetched though it was due, where that reaches into the period: from a failed run, or from when a late
-- one was due, to the next that worked. Read are the runs from the last that worked before the period to the first that
-- did after it. Where the one that worked found nothing it may be the last of many (runs.sql, forget_quiet_runs): then
-- no longer than to what is known of the trouble itself.
with reach as (
  select c.id as connection_id, coalesce(b.requested_at, '-infinity') as since, coalesce(a.requested_at, 'infinity') as until
  from public.cgm_connections c
  join public."Person" p on p.id = c.person_id
  left join lateral (
    select k.requested_at
    from cgm_private.sync_runs k
    where k.connection_id = c.id
      and k.requested_at < %(start)s::timestamptz
      and k.outcome in ('succeeded', 'nothing_new')
      and k.trigger <> 'import'
    order by k.requested_at desc
    limit 1
  ) b on true
  left join lateral (
    select k.requested_at
    from cgm_private.sync_runs k
    where k.connection_id = c.id
      and k.requested_at >= %(end)s::timestamptz
      and k.outcome in ('succeeded', 'nothing_new')
      and k.trigger <> 'import'
    order by k.requested_at
    limit 1
  ) a on true
  where c.person_id = %(person_id)s
    and p."ownerId" = (select auth.uid())::text
),
runs as (
  select s.id, s.connection_id, s.requested_at, s.due_at, s.started_at, s.finished_at, s.reason,
         s.outcome = 'failed' and s.started_at is not null as failed,
         s.started_at - s.due_at > make_interval(secs => %(overdue_s)s) as late,
         coalesce(s.outcome in ('succeeded', 'nothing_new') and s.trigger <> 'import', false) as worked,
         s.outcome = 'nothing_new' and s.trigger = 'schedule' as quiet
  from reach r
  join cgm_private.sync_runs s on s.connection_id = r.connection_id and s.requested_at between r.since and r.until
),
-- Those that did not work have the number of the one that did after them.
numbered as (
  select r.*,
         count(*) filter (where r.worked) over (
           partition by r.connection_id order by r.requested_at, r.id rows between unbounded preceding and 1 preceding
         ) as number
  from runs r
),
stretches as (
  select n.connection_id,
         min(n.started_at) filter (where n.failed) as failed_at, max(n.finished_at) filter (where n.failed) as failed_until,
         min(n.reason) filter (where n.failed) as reason,
         min(n.due_at) filter (where n.late) as late_at, max(n.started_at) filter (where n.late) as late_until,
         max(n.finished_at) filter (where n.worked) as worked_at, bool_or(n.worked and n.quiet) as quiet
  from numbered n
  group by n.connection_id, n.number
)
select x.connection_id, x.start_at, x.end_at, x.reason
from (
  select connection_id, failed_at as start_at, case when quiet then failed_until else worked_at end as end_at, reason
  from stretches
  union all
  select connection_id, late_at, case when quiet then late_until else worked_at end, null
  from stretches
) x
where x.start_at < %(end)s::timestamptz
  and coalesce(x.end_at, now()) > %(start)s::timestamptz
order by x.start_at desc
limit %(most)s

-- name: pauses
-- When a connection rested by its person's wish, where that reaches into the period and has ended: from the deed to the
-- next run that worked; where that found nothing, to the deed that woke it, as above. Any length: a pause is found by
-- its end.
select e.connection_id, b.at as start_at, case when k.quiet then e.at else k.finished_at end as end_at, 'paused' as reason
from (
  select a.person_id, a.at, a.detail ->> 'connection_id' as connection_id
  from cgm_private.audit_events a
  join public."Person" p on p.id = a.person_id
  where a.person_id = %(person_id)s
    and p."ownerId" = (select auth.uid())::text
    and a.at >= %(start)s::timestamptz
    and a.action in ('resumed', 'reconnected', 'account_changed', 'adopted')
) e
cross join lateral (
  select d.at, d.action
  from cgm_private.audit_events d
  where d.person_id = e.person_id
    and d.at < e.at
    and d.action in ('paused', 'resumed', 'reconnected', 'account_changed', 'adopted')
    and d.detail ->> 'connection_id' = e.connection_id
  order by d.at desc
  limit 1
) b
left join lateral (
  select s.finished_at, s.outcome = 'nothing_new' and s.trigger = 'schedule' as quiet
  from cgm_private.sync_runs s
  where s.connection_id = e.connection_id
    and s.requested_at >= e.at
    and s.outcome in ('succeeded', 'nothing_new')
    and s.trigger <> 'import'
  order by s.requested_at
  limit 1
) k on true
where b.action = 'paused'
  and b.at < %(end)s::timestamptz
order by b.at desc
limit %(most)s
