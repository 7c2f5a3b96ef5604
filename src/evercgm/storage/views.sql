-- What a person may see. Every query runs as cgm_request and names the owner itself too: isolation never rests on
-- row-level security alone. The host's own writers fill these tables, too: a time outside 1970 to 2999 ('infinity', the
-- year 20000) is shown to nobody, and a row of glucose_readings with one, or with a value outside 0 to 1000 mg/dL (NaN
-- is above all numbers), is no reading.

-- name: persons
-- the caller's persons
select p.id, coalesce(nullif(s.label, ''), 'Person') as label
  from public."Person" p
  left join cgm_private.person_settings s on s.person_id = p.id
 where p."ownerId" = (select auth.uid())::text
 order by label, p.id;

-- name: own_person
-- whether a person is the caller's
select p.id
  from public."Person" p
 where p.id = %(person_id)s
   and p."ownerId" = (select auth.uid())::text;

-- name: own_connection
-- whether a connection is the caller's
select c.id
  from public.cgm_connections c
  join public."Person" p on p.id = c.person_id
 where c.id = %(connection_id)s
   and p."ownerId" = (select auth.uid())::text;

-- name: connections
-- the caller's connections, of one person or one id where that is given; no tokens. The newest reading of one that works
-- is among the person's last; only for another are all looked at that it has brought. (The fences, offset 0, have the
-- ones found by the person alone, from the newest on, and the others by the connection alone.)
select c.id,
       c.person_id,
       c.provider::text as provider,
       c.status::text as status,
       c.device_id,
       case when c.token_expires_at >= timestamp '1970-01-01' and c.token_expires_at < timestamp '3000-01-01'
            then c.token_expires_at at time zone 'UTC' end as token_expires_at,
       case when c.last_sync_at >= timestamp '1970-01-01' and c.last_sync_at < timestamp '3000-01-01'
            then c.last_sync_at at time zone 'UTC' end as last_sync_at,
       coalesce(
         s.connected_at,
         least(greatest(c.created_at, timestamp '1970-01-01'), timestamp '2999-12-31') at time zone 'UTC'
       ) as connected_at,
       s.connection_id is not null as adopted,
       s.region,
       s.reason,
       s.next_sync_at,
       coalesce(
         (select r."timestamp"
            from (
              select g."timestamp", g.cgm_connection_id
                from public.glucose_readings g
               where g.person_id = c.person_id
                 and g."timestamp" >= (now() at time zone 'UTC') - interval '3 days'
                 and g."timestamp" < timestamp '3000-01-01'
                 and g.value between 0 and 1000
               order by g."timestamp" desc
              offset 0
            ) r
           where r.cgm_connection_id = c.id
           order by r."timestamp" desc
           limit 1),
         (select max(r."timestamp")
            from (
              select g."timestamp", g.person_id, g.value
                from public.glucose_readings g
               where g.cgm_connection_id = c.id
              offset 0
            ) r
           where r.person_id = c.person_id
             and r."timestamp" >= timestamp '1970-01-01'
             and r."timestamp" < timestamp '3000-01-01'
             and r.value between 0 and 1000)
       ) at time zone 'UTC' as newest_reading_at,
       now() as now
  from public.cgm_connections c
  join public."Person" p on p.id = c.person_id
  left join cgm_private.sync_state s on s.connection_id = c.id
 where p."ownerId" = (select auth.uid())::text
   and (%(person_id)s::text is null or c.person_id = %(person_id)s)
   and (%(connection_id)s::text is null or c.id = %(connection_id)s)
 order by c.created_at, c.id;

-- name: reading_totals
-- how many readings a connection has brought, and on how many days (UTC)
select count(*) as total, count(distinct r."timestamp"::date) as days
  from public.cgm_connections c
  join public."Person" p on p.id = c.person_id
  join public.glucose_readings r on r.cgm_connection_id = c.id and r.person_id = p.id
 where c.id = %(connection_id)s
   and r."timestamp" >= timestamp '1970-01-01'
   and r."timestamp" < timestamp '3000-01-01'
   and r.value between 0 and 1000
   and p."ownerId" = (select auth.uid())::text;

-- name: readings
-- one page of a person's readings, newest first; "after" is the place where the page before ended; the columns in the
-- order of ReadingView
select r.id,
       r."timestamp" at time zone 'UTC' as measured_at,
       r.value,
       r.source::text as source,
       c.provider::text as provider,
       r.cgm_connection_id as connection_id,
       d.trend,
       d.trend_rate,
       d.flag,
       d.display_offset_min
  from (
    select g.id, g."timestamp", g.value, g.source, g.cgm_connection_id
      from public.glucose_readings g
      join public."Person" p on p.id = g.person_id
     where g.person_id = %(person_id)s
       and p."ownerId" = (select auth.uid())::text
       and g."timestamp" >= greatest(%(start)s::timestamptz at time zone 'UTC', timestamp '1970-01-01')
       and g."timestamp" < least(%(end)s::timestamptz at time zone 'UTC', timestamp '3000-01-01')
       and g.value between 0 and 1000
       and (%(after_time)s::timestamptz is null
            or (g."timestamp", g.id) < (%(after_time)s::timestamptz at time zone 'UTC', %(after_id)s))
     order by g."timestamp" desc, g.id desc
     limit %(limit)s
  ) r
  left join public.cgm_connections c on c.id = r.cgm_connection_id and c.person_id = %(person_id)s
  left join lateral (
    select x.trend, x.trend_rate, x.flag, x.display_offset_min
      from cgm_private.reading_details x
     where x.reading_id = r.id
     order by x.trend is null, x.received_at desc
     limit 1
  ) d on true
 order by r."timestamp" desc, r.id desc;

-- name: audit_events
-- one page of the deeds about a person, newest first; "place" tells those of the same moment apart, as text for a cursor
select e.at, e.place::text as place, e.actor, e.action, e.detail
  from (
    select a.at, a.actor, a.action, a.detail, row_number() over (partition by a.at order by a.id) as place
      from cgm_private.audit_events a
      join public."Person" p on p.id = a.person_id
     where a.person_id = %(person_id)s
       and p."ownerId" = (select auth.uid())::text
       and (%(after_time)s::timestamptz is null or a.at <= %(after_time)s::timestamptz)
  ) e
 where %(after_time)s::timestamptz is null
    or (e.at, e.place) < (%(after_time)s::timestamptz, %(after_place)s::bigint)
 order by e.at desc, e.place desc
 limit %(limit)s;

-- name: sync_runs
-- the history of syncs, newest first, of one connection or one run where that is given
select s.id,
       s.connection_id,
       s.person_id,
       s.trigger,
       s.state,
       s.outcome,
       s.reason,
       s.window_from,
       s.window_to,
       s.fetched,
       s.inserted,
       s.updated,
       s.rejected,
       s.requested_at,
       s.due_at,
       s.started_at,
       s.finished_at
  from cgm_private.sync_runs s
  join public."Person" p on p.id = s.person_id
 where p."ownerId" = (select auth.uid())::text
   and (%(connection_id)s::text is null or s.connection_id = %(connection_id)s)
   and (%(run_id)s::text is null or s.id = %(run_id)s)
 order by s.requested_at desc, s.id
 limit %(limit)s;
