-- name: person_there
select p.id from public."Person" p where p.id = %(person_id)s

-- name: lock_connections
-- Before anything else of the person, in the order in which a sync takes its locks: connection, then person. A sync that
-- is under way finds its connection gone at its next window.
select c.id
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.person_id = %(person_id)s
order by c.id
for update of c

-- name: our_connections
-- Ours, and of a consent that is not younger than the erasure.
select c.id
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.person_id = %(person_id)s
  and greatest(s.connected_at, s.created_at) <= %(before)s::timestamptz
order by c.id

-- name: readings
-- By source and by whose they are, with the conditions of erase_readings. Ours: with details, or of the sensor and linked
-- to a connection that goes.
select r.source::text as source,
       case
         when known.reading_id is not null then known.received_at <= %(before)s::timestamptz
         else r.source = 'cgm'
              and r.cgm_connection_id = any(%(connection_ids)s::text[])
              and r.created_at at time zone 'UTC' <= %(before)s::timestamptz
       end as ours,
       coalesce(
         r.created_at at time zone 'UTC' <= %(host_before)s::timestamptz
           and (known.reading_id is null or known.received_at <= %(host_before)s::timestamptz),
         false) as wanted,
       count(*) as readings
from public.glucose_readings r
left join (
  select d.reading_id, max(d.received_at) as received_at
  from cgm_private.reading_details d
  where d.person_id = %(person_id)s
  group by d.reading_id
) known on known.reading_id = r.id
where r.person_id = %(person_id)s
group by 1, 2, 3

-- name: erase_readings
with known as materialized (
  select d.reading_id, max(d.received_at) as received_at
  from cgm_private.reading_details d
  where d.person_id = %(person_id)s
  group by d.reading_id
), gone as (
  delete from public.glucose_readings r
  where r.person_id = %(person_id)s
    and (
      exists (
        select from known k where k.reading_id = r.id and k.received_at <= %(before)s::timestamptz
      )
      or (
        r.source = 'cgm'
        and r.cgm_connection_id = any(%(connection_ids)s::text[])
        and r.created_at at time zone 'UTC' <= %(before)s::timestamptz
        and not exists (select from known k where k.reading_id = r.id)
      )
      or (
        r.created_at at time zone 'UTC' <= %(host_before)s::timestamptz
        and not exists (
          select from known k where k.reading_id = r.id and k.received_at > %(host_before)s::timestamptz
        )
      )
    )
  returning r.source
)
select g.source::text as source, count(*) as readings
from gone g
group by 1

-- name: rows
-- Whatever else we hold of the person, with the conditions of erase_rows.
select
  cardinality(%(connection_ids)s::text[]) as connections,
  (select count(*) from cgm_private.sync_runs x
    where x.person_id = %(person_id)s
      and (x.requested_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[]))) as syncs,
  (select count(*) from cgm_private.routes x
    where x.person_id = %(person_id)s
      and (x.created_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[]))) as routes,
  (select count(*) from cgm_private.rejected_records x
    where x.person_id = %(person_id)s
      and (x.received_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[])))
    as unreadable_records,
  (select count(*) from cgm_private.quarantined_connections x
    where x.person_id = %(person_id)s and x.created_at <= %(before)s::timestamptz) as set_aside,
  (select count(*) from cgm_private.oauth_attempts x
    where x.person_id = %(person_id)s and x.created_at <= %(before)s::timestamptz) as sign_ins,
  (select count(*) from cgm_private.person_settings x
    where x.person_id = %(person_id)s
      and not exists (
        select from cgm_private.sync_state s
        where s.person_id = x.person_id and greatest(s.connected_at, s.created_at) > %(before)s::timestamptz)) as settings

-- name: erase_rows
-- The connections last: what refers to them would go with them and not be counted.
with runs as (
  delete from cgm_private.sync_runs x
  where x.person_id = %(person_id)s
    and (x.requested_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[]))
  returning 1
), ways as (
  delete from cgm_private.routes x
  where x.person_id = %(person_id)s
    and (x.created_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[]))
  returning 1
), rejected as (
  delete from cgm_private.rejected_records x
  where x.person_id = %(person_id)s
    and (x.received_at <= %(before)s::timestamptz or x.connection_id = any(%(connection_ids)s::text[]))
  returning 1
), aside as (
  delete from cgm_private.quarantined_connections x
  where x.person_id = %(person_id)s and x.created_at <= %(before)s::timestamptz
  returning 1
), attempts as (
  delete from cgm_private.oauth_attempts x
  where x.person_id = %(person_id)s and x.created_at <= %(before)s::timestamptz
  returning 1
), settings as (
  -- They have no time: beside a younger consent they are taken for younger, too.
  delete from cgm_private.person_settings x
  where x.person_id = %(person_id)s
    and not exists (
      select from cgm_private.sync_state s
      where s.person_id = x.person_id and greatest(s.connected_at, s.created_at) > %(before)s::timestamptz)
  returning 1
)
select
  (select count(*) from runs) as syncs,
  (select count(*) from ways) as routes,
  (select count(*) from rejected) as unreadable_records,
  (select count(*) from aside) as set_aside,
  (select count(*) from attempts) as sign_ins,
  (select count(*) from settings) as settings

-- name: erase_connections
delete from public.cgm_connections c where c.id = any(%(connection_ids)s::text[]) and c.person_id = %(person_id)s

-- name: host_connections
-- What is not ours stays the host app's.
select count(*) as connections
from public.cgm_connections c
where c.person_id = %(person_id)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)

-- name: note_erased
-- The clock of this moment and not the transaction's: what was written before we had the locks is older than it.
insert into cgm_private.erased_persons (person_id, erased_at)
values (%(person_id)s, coalesce(%(erased_at)s::timestamptz, clock_timestamp()))
on conflict (person_id) do update
set erased_at = greatest(erased_persons.erased_at, excluded.erased_at)
returning erased_at

-- name: noted
-- Whether an erasure is known here, with all that it reached.
select e.erased_at >= %(erased_at)s::timestamptz
       and (%(all_readings_at)s::timestamptz is null or exists (
         select from cgm_private.audit_events x
         where x.person_id = e.person_id
           and x.action = 'erased'
           and (x.detail ->> 'all_readings_at')::timestamptz >= %(all_readings_at)s::timestamptz)) as noted
from cgm_private.erased_persons e
where e.person_id = %(person_id)s

-- name: erased_persons
-- Who was erased, and when last with all readings: the record of deeds tells.
select e.person_id, e.erased_at, a.all_readings_at
from cgm_private.erased_persons e
left join (
  select x.person_id, max((x.detail ->> 'all_readings_at')::timestamptz) as all_readings_at
  from cgm_private.audit_events x
  where x.action = 'erased'
  group by x.person_id
) a on a.person_id = e.person_id
order by e.erased_at, e.person_id
