-- name: record
-- Where it is bounded and was done as often as it may be within the hour, nothing but the seconds until it may be again.
with too_often as materialized (
  select ceil(extract(epoch from e.at + interval '1 hour' - now()))::integer as wait_s
  from cgm_private.audit_events e
  where %(bounded)s::boolean
    and e.person_id = %(person_id)s
    and e.at > now() - interval '1 hour'
    and e.action = %(action)s
    and e.actor = %(actor)s
  order by e.at desc
  offset %(most)s::bigint - 1
  limit 1
), written as (
  insert into cgm_private.audit_events (actor, request_id, action, person_id, detail)
  select %(actor)s, %(request_id)s, %(action)s, %(person_id)s, %(detail)s::jsonb
  where not exists (select from too_often)
)
select wait_s from too_often

-- name: persons_of
-- Whom a deed about an owner concerns.
select p.id from public."Person" p where p."ownerId" = %(owner_id)s

-- name: whose
-- Whose the thing is that was asked for, where it is another owner's than the asker's; and whether we are the only one
-- who writes that down for these two at this moment.
select p.id as person_id,
       pg_try_advisory_xact_lock(hashtextextended(%(actor)s::text || ' read_refused ' || p.id, 0)) as alone
from (
  select c.person_id from public.cgm_connections c where %(kind)s = 'connection' and c.id = %(id)s
  union all
  select r.person_id from cgm_private.sync_runs r where %(kind)s = 'sync' and r.id = %(id)s
  union all
  select a.person_id from cgm_private.oauth_attempts a where %(kind)s = 'attempt' and a.id = %(id)s
  union all
  select %(id)s::text where %(kind)s = 'person'
) asked
join public."Person" p on p.id = asked.person_id
where p."ownerId" <> %(asker)s

-- name: record_refusal
-- Once an hour for an asker and a person: nobody fills the table.
insert into cgm_private.audit_events (actor, request_id, action, person_id, detail)
select %(actor)s, %(request_id)s, 'read_refused', %(person_id)s, jsonb_build_object('kind', %(kind)s::text)
where not exists (
  select
  from cgm_private.audit_events e
  where e.person_id = %(person_id)s
    and e.at > now() - interval '1 hour'
    and e.action = 'read_refused'
    and e.actor = %(actor)s)
