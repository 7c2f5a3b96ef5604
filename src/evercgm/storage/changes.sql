-- What has changed, for all live streams of a process at once. Run as cgm_worker: every query names person and owner.
-- The host's own writers fill these tables, too. A row outside 1970 to 2999 ('infinity', the year 20000) or
-- outside 0 to 1000 mg/dL (NaN is above all numbers) is no reading; one such row must not cost the others their stream.

-- name: owned
-- the pairs of person and owner that still hold
select w.person_id, w.owner_id
  from unnest(%(persons)s::text[], %(owners)s::text[]) as w (person_id, owner_id)
  join public."Person" p on p.id = w.person_id and p."ownerId" = w.owner_id;

-- name: live_sessions
-- which of these sessions have not ended
select s.token_hash
  from cgm_private.sessions s
 where s.token_hash = any(%(sessions)s::bytea[])
   and s.expires_at > now();

-- name: readings
-- what lies behind each place, oldest first; the newest one where there is no place yet. (Each limit 1 has what belongs
-- to a reading found by that reading, and not among everybody's.)
select w.n,
       r.id,
       r."timestamp" at time zone 'UTC' as measured_at,
       r.value,
       r.source::text as source,
       r.cgm_connection_id as connection_id,
       c.provider::text as provider,
       d.trend,
       d.trend_rate,
       d.flag,
       d.display_offset_min
  from unnest(%(persons)s::text[], %(owners)s::text[], %(times)s::timestamptz[], %(ids)s::text[])
       with ordinality as w (person_id, owner_id, after_time, after_id, n)
  join public."Person" p on p.id = w.person_id and p."ownerId" = w.owner_id
 cross join lateral (
    (select g.id, g."timestamp", g.value, g.source, g.cgm_connection_id
       from public.glucose_readings g
      where w.after_time is null
        and g.person_id = w.person_id
        and g."timestamp" >= timestamp '1970-01-01'
        and g."timestamp" < timestamp '3000-01-01'
        and g.value between 0 and 1000
      order by g."timestamp" desc, g.id desc
      limit 1)
    union all
    (select g.id, g."timestamp", g.value, g.source, g.cgm_connection_id
       from public.glucose_readings g
      where w.after_time is not null
        and g.person_id = w.person_id
        and g."timestamp" >= timestamp '1970-01-01'
        and g."timestamp" < timestamp '3000-01-01'
        and g.value between 0 and 1000
        and (g."timestamp", g.id) > (w.after_time at time zone 'UTC', w.after_id)
      order by g."timestamp", g.id
      limit %(most)s)
  ) r
  left join lateral (
    select x.provider
      from public.cgm_connections x
     where x.id = r.cgm_connection_id
       and x.person_id = w.person_id
     limit 1
  ) c on true
  left join lateral (
    select x.trend, x.trend_rate, x.flag, x.display_offset_min
      from cgm_private.reading_details x
     where x.reading_id = r.id
     order by x.trend is null, x.received_at desc
     limit 1
  ) d on true
 order by w.n, r."timestamp", r.id;

-- name: connections
-- the state of all connections of these persons
select c.id,
       c.person_id,
       c.provider::text as provider,
       c.status::text as status,
       s.reason,
       case when c.last_sync_at >= timestamp '1970-01-01' and c.last_sync_at < timestamp '3000-01-01'
            then c.last_sync_at at time zone 'UTC' end as last_sync_at,
       s.next_sync_at
  from unnest(%(persons)s::text[], %(owners)s::text[]) as w (person_id, owner_id)
  join public."Person" p on p.id = w.person_id and p."ownerId" = w.owner_id
  join public.cgm_connections c on c.person_id = w.person_id
  left join cgm_private.sync_state s on s.connection_id = c.id
 order by c.id;

-- name: sync_runs
-- the last syncs of each connection of these persons
select r.id,
       r.connection_id,
       r.person_id,
       r.trigger,
       r.state,
       r.outcome,
       r.reason,
       r.window_from,
       r.window_to,
       r.fetched,
       r.inserted,
       r.updated,
       r.rejected,
       r.requested_at,
       r.due_at,
       r.started_at,
       r.finished_at
  from unnest(%(persons)s::text[], %(owners)s::text[]) as w (person_id, owner_id)
  join public."Person" p on p.id = w.person_id and p."ownerId" = w.owner_id
  join public.cgm_connections c on c.person_id = w.person_id
 cross join lateral (
    select x.*
      from cgm_private.sync_runs x
     where x.connection_id = c.id
     order by x.requested_at desc
     limit 2
  ) r
 order by r.requested_at, r.id;
