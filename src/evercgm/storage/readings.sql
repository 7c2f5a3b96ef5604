-- name: lock_person
-- One writer of a person's readings at a time: the merge rule looks before it inserts.
select pg_advisory_xact_lock(hashtextextended('evercgm readings ' || %(person_id)s, 0))

-- name: match
-- For each incoming record: the reading it is already (1) by its key, (2) by the transmitter's clock,
-- (3) by an equal value within 30 s; null where it is new.
select i.n, coalesce(known.reading_id, ticked.reading_id, near.id) as reading_id, known.reading_id is not null as known
from unnest(
  %(ns)s::int[], %(record_keys)s::text[], %(measured)s::timestamptz[], %(vals)s::float8[],
  %(transmitters)s::bytea[], %(ticks)s::bigint[]
) as i (n, record_key, measured_at, val, transmitter, ticks)
left join cgm_private.reading_details known
  on known.person_id = %(person_id)s and known.stream = %(stream)s and known.record_key = i.record_key
left join lateral (
  select d.reading_id
  from cgm_private.reading_details d
  where d.person_id = %(person_id)s and d.transmitter_hash = i.transmitter and d.transmitter_ticks = i.ticks
  limit 1
) ticked on known.reading_id is null
left join lateral (
  select r.id
  from public.glucose_readings r
  where r.person_id = %(person_id)s
    and r.source = 'cgm'
    and r."timestamp" between (i.measured_at at time zone 'UTC') - interval '30 seconds'
                          and (i.measured_at at time zone 'UTC') + interval '30 seconds'
    and r.value = i.val
  order by abs(extract(epoch from r."timestamp" - (i.measured_at at time zone 'UTC')))
  limit 1
) near on known.reading_id is null and ticked.reading_id is null

-- name: insert_readings
-- What matched nothing. An id that is there already is the same reading: a replay is harmless.
insert into public.glucose_readings
  (id, person_id, "timestamp", value, source, device_id, cgm_connection_id)
select i.id, %(person_id)s, i.measured_at at time zone 'UTC', i.val, 'cgm', i.device_id, %(connection_id)s
from unnest(%(ids)s::text[], %(measured)s::timestamptz[], %(vals)s::float8[], %(devices)s::text[])
  as i (id, measured_at, val, device_id)
on conflict (id) do nothing

-- name: correct_readings
-- A vendor's later value or time of a record of ours; rows that the host app made are never rewritten.
update public.glucose_readings r
set value = i.val, "timestamp" = i.measured_at at time zone 'UTC'
from unnest(%(ids)s::text[], %(vals)s::float8[], %(measured)s::timestamptz[]) as i (id, val, measured_at)
where r.id = i.id
  and r.person_id = %(person_id)s
  and (r.value, r."timestamp")
      is distinct from (i.val, (i.measured_at at time zone 'UTC')::timestamp(3))
  and substr(r.id, 15, 1) = '8'

-- name: relink_readings
-- After a reconnect the same readings belong to the connection again.
update public.glucose_readings r
set cgm_connection_id = %(connection_id)s
where r.id = any(%(ids)s::text[])
  and r.person_id = %(person_id)s
  and r.cgm_connection_id is null

-- name: save_details
-- What the vendor said beside the value, by the record's own key.
insert into cgm_private.reading_details
  (person_id, stream, record_key, reading_id, trend, trend_rate, display_offset_min, flag,
   transmitter_hash, transmitter_ticks)
select %(person_id)s, %(stream)s, i.record_key, i.reading_id, i.trend, i.rate, i.display_offset, i.flag,
       i.transmitter, i.ticks
from unnest(
  %(record_keys)s::text[], %(ids)s::text[], %(trends)s::text[], %(rates)s::float8[], %(offsets)s::int[],
  %(flags)s::text[], %(transmitters)s::bytea[], %(ticks)s::bigint[]
) as i (record_key, reading_id, trend, rate, display_offset, flag, transmitter, ticks)
on conflict (person_id, stream, record_key) do update
set trend = excluded.trend, trend_rate = excluded.trend_rate, flag = excluded.flag, absent_since = null
where (reading_details.trend, reading_details.trend_rate, reading_details.flag)
      is distinct from (excluded.trend, excluded.trend_rate, excluded.flag)
   or reading_details.absent_since is not null

-- name: keep_rejected
-- Records that are no readings, kept aside with their reason, each once; and how often each was seen by now.
with incoming as (
  select distinct on (i.record_key, i.reason) i.record_key, i.reason, i.measured_text
  from unnest(%(record_keys)s::text[], %(reasons)s::text[], %(texts)s::text[])
    as i (record_key, reason, measured_text)
), again as (
  update cgm_private.rejected_records k
  set times_seen = least(k.times_seen + 1, %(enough)s)
  from incoming i
  where k.person_id = %(person_id)s
    and k.stream = %(stream)s
    and k.record_key = i.record_key
    and k.reason = i.reason
  returning k.record_key, k.reason, k.times_seen
), added as (
  insert into cgm_private.rejected_records (connection_id, person_id, stream, record_key, reason, measured_text)
  select %(connection_id)s, %(person_id)s, %(stream)s, i.record_key, i.reason, i.measured_text
  from incoming i
  where not exists (select from again a where a.record_key = i.record_key and a.reason = i.reason)
  returning record_key, reason, times_seen
), everything as (
  select record_key, reason, times_seen from again
  union all
  select record_key, reason, times_seen from added
)
select (select count(*) from added) as added,
       count(*) filter (where reason = any(%(unread)s::text[]) and times_seen < %(enough)s) as doubtful
from everything
