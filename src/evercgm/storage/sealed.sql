-- Every place where a sealed value lives; sealed.py lists the same and says for which place each value is sealed.
-- A page is read by the row's id. Re-sealing is a compare-and-set: a value that changed since it was read stays, and a row
-- that somebody holds is passed over, so that it never waits for a lock. Values come joined by commas (an array costs the
-- driver five times as much); an empty one, so null, leaves its column alone.

-- name: named_keys
-- Values by the key id that they name; null where they name none. ours: false in rows that the host app made.
select v.ours, substring(v.sealed from '^v1\.([0-9a-f]{8})\.') as key_id, count(*) as sealed
from (
  select s.connection_id is not null as ours, x.sealed
  from public.cgm_connections c
  left join cgm_private.sync_state s on s.connection_id = c.id
  cross join lateral (values (c.access_token), (c.refresh_token)) as x (sealed)
  union all
  select true, s.previous_refresh_token
  from cgm_private.sync_state s
  union all
  select true, x.sealed
  from cgm_private.oauth_attempts a
  cross join lateral (values (a.pkce_verifier), (a.sealed_access), (a.sealed_refresh)) as x (sealed)
  where a.expires_at > now()
  union all
  select true, x.sealed
  from cgm_private.routes r
  cross join lateral (values (r.secret), (r.session)) as x (sealed)
  union all
  select true, k.sealed_private
  from cgm_private.signing_keys k
  union all
  select false, x.sealed
  from cgm_private.quarantined_connections q
  cross join lateral (values (q.connection ->> 'access_token'), (q.connection ->> 'refresh_token')) as x (sealed)
) v
where v.sealed <> ''
group by 1, 2
order by 1, 2

-- name: row_counts
-- How many rows each page query walks over.
select 'cgm_connections' as name, count(*) as rows from cgm_private.sync_state
union all
select 'sync_state', count(*) from cgm_private.sync_state
union all
select 'oauth_attempts', count(*) from cgm_private.oauth_attempts where expires_at > now()
union all
select 'routes', count(*) from cgm_private.routes
union all
select 'signing_keys', count(*) from cgm_private.signing_keys
union all
select 'quarantined_connections', count(*) from cgm_private.quarantined_connections
union all
select 'host_connections', count(*)
from public.cgm_connections c
where not exists (select from cgm_private.sync_state s where s.connection_id = c.id)

-- name: page_cgm_connections
select c.id, c.access_token, c.refresh_token
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.id > %(after)s
order by c.id
limit %(most)s

-- name: reseal_cgm_connections
with batch as (
  select c.id, v.access_token, v.refresh_token
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_access_token)s, ',', ''), string_to_array(%(new_access_token)s, ',', ''),
    string_to_array(%(old_refresh_token)s, ',', ''), string_to_array(%(new_refresh_token)s, ',', '')
  ) as v (id, old_access_token, access_token, old_refresh_token, refresh_token)
  join public.cgm_connections c on c.id = v.id
  where c.access_token = coalesce(v.old_access_token, c.access_token)
    and c.refresh_token = coalesce(v.old_refresh_token, c.refresh_token)
  for no key update of c skip locked
)
update public.cgm_connections c
set access_token = coalesce(batch.access_token, c.access_token),
    refresh_token = coalesce(batch.refresh_token, c.refresh_token)
from batch
where c.id = batch.id
returning c.id as id

-- name: page_sync_state
select s.connection_id as id, s.previous_refresh_token
from cgm_private.sync_state s
where s.connection_id > %(after)s
order by s.connection_id
limit %(most)s

-- name: reseal_sync_state
with batch as (
  select s.connection_id, v.previous_refresh_token
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_previous_refresh_token)s, ',', ''), string_to_array(%(new_previous_refresh_token)s, ',', '')
  ) as v (id, old_previous_refresh_token, previous_refresh_token)
  join cgm_private.sync_state s
    on s.connection_id = v.id and s.previous_refresh_token = v.old_previous_refresh_token
  for no key update of s skip locked
)
update cgm_private.sync_state s
set previous_refresh_token = batch.previous_refresh_token
from batch
where s.connection_id = batch.connection_id
returning s.connection_id as id

-- name: page_oauth_attempts
-- Nobody opens what has had its ten minutes.
select a.id, a.pkce_verifier, a.sealed_access, a.sealed_refresh
from cgm_private.oauth_attempts a
where a.id > %(after)s
  and a.expires_at > now()
order by a.id
limit %(most)s

-- name: reseal_oauth_attempts
with batch as (
  select a.id, v.pkce_verifier, v.sealed_access, v.sealed_refresh
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_pkce_verifier)s, ',', ''), string_to_array(%(new_pkce_verifier)s, ',', ''),
    string_to_array(%(old_sealed_access)s, ',', ''), string_to_array(%(new_sealed_access)s, ',', ''),
    string_to_array(%(old_sealed_refresh)s, ',', ''), string_to_array(%(new_sealed_refresh)s, ',', '')
  ) as v (id, old_pkce_verifier, pkce_verifier, old_sealed_access, sealed_access, old_sealed_refresh, sealed_refresh)
  join cgm_private.oauth_attempts a on a.id = v.id
  where a.pkce_verifier = coalesce(v.old_pkce_verifier, a.pkce_verifier)
    and a.sealed_access = coalesce(v.old_sealed_access, a.sealed_access)
    and a.sealed_refresh = coalesce(v.old_sealed_refresh, a.sealed_refresh)
  for no key update of a skip locked
)
update cgm_private.oauth_attempts a
set pkce_verifier = coalesce(batch.pkce_verifier, a.pkce_verifier),
    sealed_access = coalesce(batch.sealed_access, a.sealed_access),
    sealed_refresh = coalesce(batch.sealed_refresh, a.sealed_refresh)
from batch
where a.id = batch.id
returning a.id as id

-- name: page_routes
select r.id, r.secret, r.session
from cgm_private.routes r
where r.id > %(after)s
order by r.id
limit %(most)s

-- name: reseal_routes
with batch as (
  select r.id, v.secret, v.session
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_secret)s, ',', ''), string_to_array(%(new_secret)s, ',', ''),
    string_to_array(%(old_session)s, ',', ''), string_to_array(%(new_session)s, ',', '')
  ) as v (id, old_secret, secret, old_session, session)
  join cgm_private.routes r on r.id = v.id
  where r.secret = coalesce(v.old_secret, r.secret)
    and r.session = coalesce(v.old_session, r.session)
  for no key update of r skip locked
)
update cgm_private.routes r
set secret = coalesce(batch.secret, r.secret),
    session = coalesce(batch.session, r.session)
from batch
where r.id = batch.id
returning r.id as id

-- name: page_signing_keys
select k.kid as id, k.sealed_private
from cgm_private.signing_keys k
where k.kid > %(after)s
order by k.kid
limit %(most)s

-- name: reseal_signing_keys
with batch as (
  select k.kid, v.sealed_private
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_sealed_private)s, ',', ''), string_to_array(%(new_sealed_private)s, ',', '')
  ) as v (id, old_sealed_private, sealed_private)
  join cgm_private.signing_keys k on k.kid = v.id and k.sealed_private = v.old_sealed_private
  for no key update of k skip locked
)
update cgm_private.signing_keys k
set sealed_private = batch.sealed_private
from batch
where k.kid = batch.kid
returning k.kid as id

-- name: page_quarantined_connections
-- Rows of the host app that were put aside; one that had been ours keeps our seal.
select q.id,
       coalesce(q.connection ->> 'access_token', '') as access_token,
       coalesce(q.connection ->> 'refresh_token', '') as refresh_token
from cgm_private.quarantined_connections q
where q.id > %(after)s
order by q.id
limit %(most)s

-- name: reseal_quarantined_connections
with batch as (
  select q.id,
         jsonb_strip_nulls(jsonb_build_object('access_token', v.access_token, 'refresh_token', v.refresh_token)) as anew
  from unnest(
    %(ids)s::text[],
    string_to_array(%(old_access_token)s, ',', ''), string_to_array(%(new_access_token)s, ',', ''),
    string_to_array(%(old_refresh_token)s, ',', ''), string_to_array(%(new_refresh_token)s, ',', '')
  ) as v (id, old_access_token, access_token, old_refresh_token, refresh_token)
  join cgm_private.quarantined_connections q on q.id = v.id
  where (v.old_access_token is null or q.connection ->> 'access_token' = v.old_access_token)
    and (v.old_refresh_token is null or q.connection ->> 'refresh_token' = v.old_refresh_token)
  for no key update of q skip locked
)
update cgm_private.quarantined_connections q
set connection = q.connection || batch.anew
from batch
where q.id = batch.id
returning q.id as id

-- name: page_host_connections
-- Connections of the host app: looked at, never altered.
select c.id, c.access_token, c.refresh_token
from public.cgm_connections c
where c.id > %(after)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)
order by c.id
limit %(most)s
