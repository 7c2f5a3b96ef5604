-- name: foreign_connections
-- One page of the connections that are not ours, by id; tokens as they are stored.
select c.id, c.person_id, c.provider::text as provider, c.access_token, c.refresh_token,
       c.metadata ->> 'region' as region,
       exists (
         select from cgm_private.erased_persons e
         where e.person_id = c.person_id and e.erased_at > c.created_at at time zone 'UTC') as erased
from public.cgm_connections c
where c.id > %(after)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)
order by c.id
limit %(most)s

-- name: foreign_connection
-- One of them; asked after its row is locked, so that a sign-in meanwhile is seen.
select c.id, c.person_id, c.provider::text as provider, c.access_token, c.refresh_token,
       c.metadata ->> 'region' as region,
       exists (
         select from cgm_private.erased_persons e
         where e.person_id = c.person_id and e.erased_at > c.created_at at time zone 'UTC') as erased
from public.cgm_connections c
where c.id = %(id)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)

-- name: take_over
-- The tokens under our seal. The host's cursor means nothing to us, its error text is not ours; what a person
-- disconnected stays so, and whatever else the host thought of it, we try. An access token that has ended is renewed first.
update public.cgm_connections
set access_token = %(access)s,
    refresh_token = %(refresh)s,
    token_expires_at = case
      when isfinite(token_expires_at) and not %(renew)s then token_expires_at
      else now() at time zone 'UTC'
    end,
    sync_cursor = null,
    error_message = null,
    status = case when status = 'disconnected' then status else 'connected' end
where id = %(id)s

-- name: begin_state
-- From here on the connection is ours, and due unless it rests. adopted_at: a pair that the vendor refuses may be our own
-- mistake.
insert into cgm_private.sync_state (connection_id, person_id, provider, region, next_sync_at, connected_at, adopted_at)
select c.id, c.person_id, c.provider::text, %(region)s, case when c.status <> 'disconnected' then now() end,
       c.created_at at time zone 'UTC', case when %(doubtful)s then now() end
from public.cgm_connections c
where c.id = %(id)s

-- name: quarantined
-- One page of the connections that were set aside, by id; tokens as they are stored.
select q.id, coalesce(q.connection ->> 'access_token', '') as access_token,
       coalesce(q.connection ->> 'refresh_token', '') as refresh_token
from cgm_private.quarantined_connections q
where q.id > %(after)s
order by q.id
limit %(most)s

-- name: quarantined_one
select q.id, q.person_id, coalesce(q.connection ->> 'access_token', '') as access_token,
       coalesce(q.connection ->> 'refresh_token', '') as refresh_token
from cgm_private.quarantined_connections q
where q.id = %(id)s
for update

-- name: reseal_quarantined
update cgm_private.quarantined_connections
set connection = connection || %(tokens)s::jsonb
where id = %(id)s

-- name: renew_at_once
-- Taken over (their consent is older than our row) and never renewed since. One that waits for a reason goes on waiting,
-- one that rests goes on resting.
with waiting as (
  select c.id, c.status
  from public.cgm_connections c
  join cgm_private.sync_state s on s.connection_id = c.id
  where c.provider = %(provider)s::"CGMProvider"
    and s.generation = 0
    and (s.adopted_at is not null or s.connected_at < s.created_at)
  order by c.id
  for update of c
),
state as (
  update cgm_private.sync_state s
  set next_sync_at = case when s.reason is null and w.status <> 'disconnected' then now() else s.next_sync_at end
  from waiting w
  where s.connection_id = w.id
    and s.generation = 0
  returning s.connection_id
)
update public.cgm_connections c
set token_expires_at = now() at time zone 'UTC'
from state
where c.id = state.connection_id

-- name: never_renewed
-- refused: after a leak, the sign that somebody else has used the token first.
select case when s.reason in ('sign_in_refused', 'reconnect_needed') then 'refused' else c.status::text end as status,
       count(*) as connections
from cgm_private.sync_state s
join public.cgm_connections c on c.id = s.connection_id
where s.generation = 0
  and (s.adopted_at is not null or s.connected_at < s.created_at)
group by 1
order by 1
