-- Rows of many people, as the service and its vendors would have left them. Parameters: persons above "first" up to
-- "last"; of those, wearers have "readings" readings each, one every five minutes up to now, lying in the order in which
-- they came: everybody's between everybody's.

-- name: persons
-- the first two have the same owner
insert into public."Person" (id, "ownerId")
select md5('person' || n)::uuid::text, md5('owner' || greatest(n, 2))::uuid::text
from generate_series(%(first)s + 1, %(last)s) n

-- name: settings
insert into cgm_private.person_settings (person_id, label)
select md5('person' || n)::uuid::text, 'Person ' || n
from generate_series(%(first)s + 1, %(last)s) n

-- name: connections
-- of a hundred: four paused, three expired, three in trouble
insert into public.cgm_connections
  (id, person_id, provider, access_token, refresh_token, token_expires_at, status, last_sync_at, updated_at)
select md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text, 'dexcom', repeat('a', 400), repeat('r', 80),
       now() + interval '2 hours',
       (case when n %% 100 < 4 and n > 2 then 'disconnected' when n %% 100 < 7 and n > 2 then 'expired'
             when n %% 100 < 10 and n > 2 then 'error' else 'connected' end)::"CGMConnectionStatus",
       now() - interval '5 minutes', now()
from generate_series(%(first)s + 1, %(last)s) n

-- name: states
-- who is at rest is never due; of the others the same few are due, however many there are
insert into cgm_private.sync_state
  (connection_id, person_id, provider, region, vendor_account_id, reason, failure_count, connected_at, history_done_at,
   next_sync_at)
select md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text, 'dexcom', 'us', 'account',
       case when c.status = 'expired' then 'reconnect_needed' when c.status = 'error' then 'vendor_denied' end, 0,
       now() - interval '200 days', now() - interval '199 days',
       case when c.status in ('disconnected', 'expired') then null
            when n between 100 and 199 and n %% 100 >= 40 then now() - n * interval '1 second'
            else now() + interval '6 hours' + n %% 300 * interval '1 second' end
from generate_series(%(first)s + 1, %(last)s) n
join public.cgm_connections c on c.id = md5('connection' || n)::uuid::text

-- name: routes
insert into cgm_private.routes (id, connection_id, person_id, route, region, session_expires_at, next_sync_at)
select md5('route' || n)::uuid::text, md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text, 'dexcom_share',
       'us', now() + interval '20 hours', now() + interval '6 hours' + n %% 300 * interval '1 second'
from generate_series(%(first)s + 1, %(last)s) n

-- name: runs
insert into cgm_private.sync_runs
  (id, connection_id, person_id, trigger, state, outcome, reason, starts, requested_at, due_at, started_at, finished_at)
select md5('run' || n || '/' || k)::uuid::text, md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text,
       'schedule', 'done', case when k %% 3 = 0 then 'failed' else 'succeeded' end,
       case when k %% 3 = 0 then 'vendor_unavailable' end, 1, at, at, at, at + interval '2 seconds'
from (
  select n, k, now() - k * interval '7 hours' - n * interval '1 millisecond' as at
  from generate_series(5, 1, -1) k, generate_series(%(first)s + 1, %(last)s) n
) s

-- name: asked
-- runs that somebody waits for: as many, however many persons there are
insert into cgm_private.sync_runs (id, connection_id, person_id, trigger)
select md5('asked' || n)::uuid::text, md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text, 'person'
from generate_series(%(first)s + 1, %(last)s) n
where n between 210 and 219

-- name: deeds
insert into cgm_private.audit_events (at, actor, person_id, action)
select now() - k * interval '3 days' - n * interval '1 millisecond', 'owner:' || md5('owner' || greatest(n, 2))::uuid,
       md5('person' || n)::uuid::text, 'exported'
from generate_series(4, 1, -1) k, generate_series(%(first)s + 1, %(last)s) n

-- name: sessions
insert into cgm_private.sessions (token_hash, owner_id, expires_at)
select sha256(('session' || n)::bytea), md5('owner' || n)::uuid::text, now() + interval '20 days'
from generate_series(%(first)s + 1, %(last)s) n

-- name: links
insert into cgm_private.sign_in_links (token_hash, owner_id, expires_at)
select sha256(('link' || n)::bytea), md5('owner' || n)::uuid::text, now() + interval '1 day'
from generate_series(%(first)s + 1, %(last)s) n

-- name: attempts
insert into cgm_private.oauth_attempts
  (id, state_hash, person_id, owner_id, provider, region, handover_hash, expires_at)
select md5('attempt' || n)::uuid::text, sha256(('state' || n)::bytea), md5('person' || n)::uuid::text,
       md5('owner' || greatest(n, 2))::uuid::text, 'dexcom', 'us', sha256(('handover' || n)::bytea),
       now() + interval '1 day'
from generate_series(%(first)s + 1, %(last)s) n

-- name: erased
insert into cgm_private.erased_persons (person_id)
select md5('erased' || n)::uuid::text
from generate_series(%(first)s + 1, %(last)s) n

-- name: jobs
insert into cgm_jobs.pgqueuer (priority, status, entrypoint, execute_after, dedupe_key, payload)
select 0, 'queued', 'sync_connection', now() - interval '1 second', 'sync:' || md5('job' || n)::uuid,
       convert_to('{"connection_id":"' || md5('job' || n)::uuid || '"}', 'UTF8')
from generate_series(%(first)s + 1, %(last)s) n

-- name: picked
-- as many as workers have in hand, however many persons there are
insert into cgm_jobs.pgqueuer (priority, status, entrypoint, dedupe_key, queue_manager_id)
select 0, 'picked', 'sync_connection', 'sync:' || md5('picked' || n)::uuid, gen_random_uuid()
from generate_series(%(first)s + 1, %(last)s) n
where n <= 1000 and n %% 100 = 0

-- name: log
insert into cgm_jobs.pgqueuer_log (job_id, status, priority, entrypoint, aggregated)
select n, 'successful', 0, 'sync_connection', true
from generate_series(%(first)s + 1, %(last)s) n, generate_series(1, 3) k

-- name: books
-- calls are kept for two hours: that is all, whatever the number of persons
insert into cgm_private.vendor_budgets (provider, region, window_start, calls)
select 'dexcom', r, date_trunc('minute', now()) - n * interval '1 minute', 1
from generate_series(1, 120) n, unnest(array['us', 'eu', 'jp', 'sandbox']) r
on conflict do nothing

-- name: readings
-- with what the vendor said beside each
with stored as (
  insert into public.glucose_readings
    (id, person_id, "timestamp", value, source, device_id, cgm_connection_id, created_at)
  select substr(ms, 1, 8) || '-' || substr(ms, 9) || '-8' || substr(h, 1, 3) || '-9' || substr(h, 4, 3) || '-'
           || substr(h, 7, 12),
         md5('person' || n)::uuid::text, at, 70 + (n + k) %% 150, 'cgm', 'g7 iOS', md5('connection' || n)::uuid::text, at
  from generate_series(1, %(readings)s) k
  cross join lateral generate_series(%(first)s + 1, %(last)s) n
  cross join lateral (
    select date_trunc('second', %(now)s::timestamptz at time zone 'UTC')
           - (%(readings)s - k) * interval '5 minutes' - n %% 300 * interval '1 second' as at
  ) t
  cross join lateral (
    select md5('reading' || n || '/' || k) as h, lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') as ms
  ) i
  returning id, person_id, "timestamp" as at
)
insert into cgm_private.reading_details
  (reading_id, person_id, stream, record_key, trend, trend_rate, display_offset_min, transmitter_hash,
   transmitter_ticks, received_at)
select s.id, s.person_id, 'dexcom/dexcom/account', md5('record' || s.id)::uuid::text, 'flat', 0.5, 60,
       sha256(s.person_id::bytea), extract(epoch from s.at)::bigint, s.at at time zone 'UTC'
from stored s

-- name: by_hand
-- what the host app stored by itself: one in twenty, without a connection, by an id that is no time
insert into public.glucose_readings (id, person_id, "timestamp", value, source)
select gen_random_uuid()::text, md5('person' || n)::uuid::text,
       date_trunc('second', %(now)s::timestamptz at time zone 'UTC') - k * interval '100 minutes' + interval '7 seconds',
       100, 'fingerstick'
from generate_series(%(readings)s / 20, 1, -1) k
cross join lateral generate_series(%(first)s + 1, %(last)s) n

-- name: set_aside
insert into cgm_private.rejected_records (connection_id, person_id, stream, record_key, reason, measured_text)
select md5('connection' || n)::uuid::text, md5('person' || n)::uuid::text, 'dexcom/dexcom/account', 'odd-' || k,
       'bad_time', '2026-11-24T08:00:00'
from generate_series(1, 5) k, generate_series(%(first)s + 1, %(last)s) n

-- name: long_history
-- the first person's readings once more, each five times, further and further back
with stored as (
  insert into public.glucose_readings
    (id, person_id, "timestamp", value, source, device_id, cgm_connection_id, created_at)
  select overlay(r.id placing lpad(to_hex(k), 4, '0') from 25), r.person_id,
         r."timestamp" - k * (newest.at - oldest.at + interval '5 minutes'), r.value, r.source, r.device_id,
         r.cgm_connection_id, r.created_at
  from public.glucose_readings r
  cross join generate_series(1, 5) k
  cross join (select max("timestamp") as at from public.glucose_readings) newest
  cross join (select min("timestamp") as at from public.glucose_readings) oldest
  where r.person_id = md5('person1')::uuid::text
    and r.source = 'cgm'
  returning id, person_id, "timestamp" as at
)
insert into cgm_private.reading_details (reading_id, person_id, stream, record_key, trend, received_at)
select s.id, s.person_id, 'dexcom/dexcom/account', s.id, 'flat', s.at at time zone 'UTC'
from stored s
