-- name: lock_person
-- One writer of a person's readings at a time: the merge rule looks before it inserts.
select pg_advisory_xact_lock(hashtextextended('evercgm readings ' || %(person_id)s, 0))

-- name: moved
-- Of records whose instants are reckoned from a device's clock, those that are stored already under another offset from
-- UTC: the same local time, the same value, not far apart; and what would rewrite one that the answer tells so. Where the
-- stored one is in the answer as well, with the offset that it had, a local time came twice: both are readings. What is
-- later than all that is stored cannot be stored yet; most answers hold nothing but that and what is stored as it comes,
-- and then no more than their keys is looked up.
with incoming as materialized (
  select i.record_key, i.measured_at at time zone 'UTC' as measured_at, i.value, i.offset_min,
         (i.measured_at at time zone 'UTC') + i.offset_min * interval '1 minute' as local_time
  from unnest(%(keys)s::text[], %(measured)s::timestamptz[], %(vals)s::float8[], %(offsets)s::int[])
    as i (record_key, measured_at, value, offset_min)
), newest as materialized (
  select r."timestamp" as measured_at
  from public.glucose_readings r
  cross join lateral (
    select from cgm_private.reading_details d
    where d.reading_id = r.id and d.person_id = %(person_id)s and d.stream = %(stream)s
    limit 1
  ) d
  where r.person_id = %(person_id)s
    and r."timestamp" >= (select min(i.measured_at) from incoming i)
  order by r."timestamp" desc
  limit 1
), strangers as materialized (
  select i.*
  from incoming i
  left join lateral (
    select d.display_offset_min as offset_min
    from cgm_private.reading_details d
    where d.person_id = %(person_id)s and d.stream = %(stream)s and d.record_key = i.record_key
    limit 1
  ) known on true
  where i.measured_at <= (select n.measured_at from newest n)
    and known.offset_min is distinct from i.offset_min
), stored as materialized (
  select d.record_key, r."timestamp" as measured_at, r.value, d.display_offset_min as offset_min,
         r."timestamp" + d.display_offset_min * interval '1 minute' as local_time
  from public.glucose_readings r
  cross join lateral (
    select d.person_id, d.stream, d.record_key, d.display_offset_min
    from cgm_private.reading_details d
    where d.reading_id = r.id
    offset 0
  ) d
  where r.person_id = %(person_id)s
    and r."timestamp" >= (select min(s.measured_at) - %(farthest)s::interval from strangers s)
    and r."timestamp" <= (select max(s.measured_at) + %(farthest)s::interval from strangers s)
    and d.person_id = %(person_id)s
    and d.stream = %(stream)s
    and not exists (
      select from incoming i where i.record_key = d.record_key and i.offset_min = d.display_offset_min
    )
), moved as materialized (
  select s.record_key, t.record_key as stored_key
  from strangers s
  join stored t
    on t.value = s.value
   and t.offset_min <> s.offset_min
   and t.local_time between s.local_time - %(near)s::interval and s.local_time + %(near)s::interval
   and t.measured_at between s.measured_at - %(farthest)s::interval and s.measured_at + %(farthest)s::interval
)
select m.record_key
from moved m
union
select s.record_key
from strangers s
join moved m on m.stored_key = s.record_key

-- name: is_new
-- Whether nothing is stored that any of these records could be: no reading near their times, no key, no tick. So begins
-- a history, window by window, and what fills an outage of days; the match then has nothing to look for. (In this order:
-- mostly something is near, and then nothing else is looked for.)
select not exists (
         select from public.glucose_readings r
         where r.person_id = %(person_id)s
           and r."timestamp" >= %(first)s::timestamptz at time zone 'UTC'
           and r."timestamp" <= %(last)s::timestamptz at time zone 'UTC'
       )
       and not exists (
         select from cgm_private.reading_details d
         where d.person_id = %(person_id)s
           and d.stream = %(stream)s
           and d.record_key = any(array(select json_array_elements_text(%(keys)s::json)))
       )
       and not exists (
         select from cgm_private.reading_details d
         where hashtextextended(d.person_id, 0) = hashtextextended(%(person_id)s, 0)
           and d.transmitter_ticks = any(array(select json_array_elements_text(%(ticks)s::json)::bigint))
       ) as is_new

-- name: match
-- The incoming records that are stored already: each with its reading, found (1) by its key, (2) by the transmitter's
-- clock (a file names no transmitter as a cloud does: there only beside its value and within a day), (3) by an equal
-- value, or the same end of the range, as near as the two streams need it (core/nearness.py), (4) within the slot among
-- what came by a lesser or a greater way. Settled: what is stored says the same, so there is nothing to write. Where
-- something is: first, makers: of this way's records of the reading this one has the first key, and the lesser records
-- that it has as well; whether files, and clouds, tell of the same reading, too.
-- By the transmitter's clock: through the hash of the person, which no other index has. Of somebody new the planner expects
-- a single row, and would look for the tick in all of them by the key's index as gladly as by the right one.
-- Beside it, without a trip of its own: what is stored between start and end and did not come is noted as absent. (The
-- fence, offset 0, has it found by its reading and not among all that the person has.)
with incoming as materialized (
  select *
  from json_to_recordset(%(records)s::json) as i (
    n int, record_key text, measured_at timestamptz, value float8, trend text, trend_rate float8, flag text,
    transmitter text, ticks bigint
  )
), files as materialized (
  select f.stream, f.seconds, f.mg_dl, f.by_ends
  from unnest(
    %(files)s::text[], %(files_seconds)s::int[], %(files_mg_dl)s::int[], %(files_by_ends)s::boolean[]
  ) as f (stream, seconds, mg_dl, by_ends)
), gone as (
  select d.record_key
  from public.glucose_readings r
  cross join lateral (
    select d.person_id, d.stream, d.record_key, d.absent_since
    from cgm_private.reading_details d
    where d.reading_id = r.id
    offset 0
  ) d
  where r.person_id = %(person_id)s
    and r."timestamp" >= %(start)s::timestamptz at time zone 'UTC'
    and r."timestamp" < %(end)s::timestamptz at time zone 'UTC'
    and d.person_id = %(person_id)s
    and d.stream = %(stream)s
    and d.absent_since is null
    and d.record_key not in (select i.record_key from incoming i)
    and d.record_key <> all(%(aside)s::text[])
), absent as (
  update cgm_private.reading_details d
  set absent_since = now()
  where d.person_id = %(person_id)s
    and d.stream = %(stream)s
    and d.record_key = any(array(select g.record_key from gone g))
), found as materialized (
  select i.n,
         i.record_key,
         known.settled,
         coalesce(
           known.reading_id,
           (
             select d.reading_id
             from cgm_private.reading_details d
             where hashtextextended(d.person_id, 0) = hashtextextended(%(person_id)s, 0)
               and d.transmitter_ticks = i.ticks
               and case when d.person_id = %(person_id)s then d.transmitter_hash = decode(i.transmitter, 'base64') end
             limit 1
           ),
           (
             select d.reading_id
             from cgm_private.reading_details d
             join public.glucose_readings r on r.id = d.reading_id
             where hashtextextended(d.person_id, 0) = hashtextextended(%(person_id)s, 0)
               and d.transmitter_ticks = i.ticks
               and case when d.person_id = %(person_id)s then d.stream <> %(stream)s end
               and (%(of_file)s or d.stream in (select f.stream from files f))
               and r."timestamp" between (i.measured_at at time zone 'UTC') - interval '1 day'
                                     and (i.measured_at at time zone 'UTC') + interval '1 day'
               and abs(r.value - i.value) <= %(widest_mg_dl)s
             limit 1
           ),
           (
             select r.id
             from public.glucose_readings r
             cross join lateral (
               select abs(extract(epoch from r."timestamp" - (i.measured_at at time zone 'UTC'))) as seconds,
                      abs(r.value - i.value) as mg_dl,
                      (least(r.value, i.value), greatest(r.value, i.value))
                        in ((%(below)s, %(lowest)s), (%(above)s, %(highest)s)) as by_end
             ) apart
             where r.person_id = %(person_id)s
               and r.source = 'cgm'
               and r."timestamp" between (i.measured_at at time zone 'UTC') - %(widest_s)s * interval '1 second'
                                     and (i.measured_at at time zone 'UTC') + %(widest_s)s * interval '1 second'
               and (apart.mg_dl <= %(widest_mg_dl)s or apart.by_end)
               and (
                 (apart.seconds <= %(near_s)s
                   and (apart.mg_dl <= %(near_mg_dl)s or (apart.by_end and %(near_by_ends)s::boolean)))
                 or exists (
                   select
                   from cgm_private.reading_details d
                   join files f on f.stream = d.stream
                   where d.reading_id = r.id
                     and apart.seconds <= greatest(f.seconds, %(near_s)s)
                     and (
                       apart.mg_dl <= greatest(f.mg_dl, %(near_mg_dl)s)
                       or (apart.by_end and (f.by_ends or %(near_by_ends)s::boolean))
                     )
                 )
               )
             order by apart.seconds
             limit 1
           ),
           (
             select r.id
             from public.glucose_readings r
             where cardinality(%(lesser)s::text[]) + cardinality(%(greater)s::text[]) > 0
               and r.person_id = %(person_id)s
               and r.source = 'cgm'
               and r."timestamp" between (i.measured_at at time zone 'UTC') - %(slot)s::interval
                                     and (i.measured_at at time zone 'UTC') + %(slot)s::interval
               and exists (
                 select from cgm_private.reading_details d
                 where d.reading_id = r.id
                   and (d.stream ^@ any(%(lesser)s::text[]) or d.stream ^@ any(%(greater)s::text[]))
               )
               and (%(shares)s::boolean or not exists (
                 select from cgm_private.reading_details d
                 where d.reading_id = r.id and d.stream = %(stream)s
               ))
             order by abs(extract(epoch from r."timestamp" - (i.measured_at at time zone 'UTC')))
             limit 1
           )
         ) as reading_id
  from incoming i
  left join lateral (
    select d.reading_id,
           d.absent_since is null
             and (d.trend, d.trend_rate, d.flag)
                 is not distinct from (coalesce(i.trend, d.trend), coalesce(i.trend_rate, d.trend_rate), i.flag)
             and (r.cgm_connection_id is not null or %(connection_id)s::text is null)
             and r.value = i.value
             and r."timestamp" = (i.measured_at at time zone 'UTC')::timestamp(3) as settled
    from cgm_private.reading_details d
    join public.glucose_readings r on r.id = d.reading_id
    where d.person_id = %(person_id)s and d.stream = %(stream)s and d.record_key = i.record_key
    limit 1
  ) known on true
)
select f.n, f.reading_id, coalesce(f.settled, false) as settled, beside.first, beside.makers, beside.by_files,
       beside.by_clouds, beside.by_greater
from found f
cross join lateral (
  select bool_and(d.record_key >= f.record_key) filter (where d.stream = %(stream)s) is not false as first,
         json_agg(json_build_array(d.stream, d.record_key))
           filter (where d.stream ^@ any(%(lesser)s::text[])) as makers,
         coalesce(bool_or(d.stream = any(%(files)s::text[])) filter (where o.other), false) as by_files,
         coalesce(bool_or(d.stream <> all(%(files)s::text[])) filter (where o.other), false) as by_clouds,
         coalesce(bool_or(d.stream ^@ any(%(greater)s::text[])) filter (where o.other), false) as by_greater
  from cgm_private.reading_details d
  cross join lateral (select (d.stream, d.record_key) <> (%(stream)s, f.record_key) as other) o
  where f.settled is not true
    and d.reading_id = f.reading_id
) beside
where f.reading_id is not null

-- name: store
-- What matched nothing becomes a reading: an id that is there already is the same one, so a replay is harmless. What
-- the vendor said beside the value is kept by the record's own key.
with incoming as materialized (
  select *
  from json_to_recordset(%(records)s::json) as i (
    id text, fresh boolean, record_key text, measured_at timestamptz, value float8, device_id text, trend text,
    trend_rate float8, display_offset_min int, flag text, transmitter text, ticks bigint
  )
), added as (
  insert into public.glucose_readings
    (id, person_id, "timestamp", value, source, device_id, cgm_connection_id)
  select i.id, %(person_id)s, i.measured_at at time zone 'UTC', i.value, 'cgm', i.device_id, %(connection_id)s
  from incoming i
  where i.fresh
  on conflict (id) do nothing
  returning 1
), detailed as (
  insert into cgm_private.reading_details
    (person_id, stream, record_key, reading_id, trend, trend_rate, display_offset_min, flag,
     transmitter_hash, transmitter_ticks)
  select %(person_id)s, %(stream)s, i.record_key, i.id, i.trend, i.trend_rate, i.display_offset_min, i.flag,
         decode(i.transmitter, 'base64'), i.ticks
  from incoming i
  on conflict (person_id, stream, record_key) do update
  -- Some vendors tell the trend of the newest one alone: it does not go when a newer one has come.
  set trend = coalesce(excluded.trend, reading_details.trend),
      trend_rate = coalesce(excluded.trend_rate, reading_details.trend_rate),
      flag = excluded.flag,
      absent_since = null
  where (reading_details.trend, reading_details.trend_rate, reading_details.flag)
        is distinct from (
          coalesce(excluded.trend, reading_details.trend),
          coalesce(excluded.trend_rate, reading_details.trend_rate),
          excluded.flag
        )
     or reading_details.absent_since is not null
)
select count(*) as inserted from added

-- name: correct_readings
-- A vendor's later value or time of a record of ours; rows that the host app made are never rewritten. "Own": the record
-- that made the reading's id. Another one may correct it only where none is shown beside it any more: copies with
-- another value would flip it for ever.
update public.glucose_readings r
set value = i.val, "timestamp" = i.measured_at at time zone 'UTC'
from unnest(
  %(ids)s::text[], %(keys)s::text[], %(own)s::boolean[], %(vals)s::float8[], %(measured)s::timestamptz[]
) as i (id, record_key, own, val, measured_at)
where r.id = i.id
  and case when r.person_id = %(person_id)s then
        (r.value, r."timestamp") is distinct from (i.val, (i.measured_at at time zone 'UTC')::timestamp(3)) end
  and substr(r.id, 15, 1) = '8'
  and (
    i.own
    or not exists (
      select from cgm_private.reading_details d
      where d.reading_id = r.id
        and (d.stream, d.record_key) <> (%(stream)s, i.record_key)
        and d.absent_since is null
    )
  )

-- name: relink_readings
-- After a reconnect the same readings belong to the connection again. (The case, here and above, has them found by their
-- ids, and not among all that the person has, or all of everybody's that belongs to no connection.)
update public.glucose_readings r
set cgm_connection_id = %(connection_id)s
where r.id = any(%(ids)s::text[])
  and case when r.person_id = %(person_id)s then r.cgm_connection_id is null end

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

-- name: forget_rejected
-- What could not be read is kept for 30 days; a row that somebody else has in hand is left to the next turn.
delete from cgm_private.rejected_records
where id in (
  select k.id
  from cgm_private.rejected_records k
  where k.received_at < now() - interval '30 days'
  order by k.received_at
  limit 1000
  for update skip locked
)
