-- name: foreign_connections
-- One page of the connections that are not ours, by id; tokens as they are stored.
select c.id, c.provider::text as provider, c.access_token, c.refresh_token, c.metadata ->> 'region' as region
from public.cgm_connections c
where c.id > %(after)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)
order by c.id
limit %(most)s

-- name: foreign_connection
-- One of them; asked after its row is locked, so that a sign-in meanwhile is seen.
select c.id, c.person_id, c.provider::text as provider, c.access_token, c.refresh_token,
       c.metadata ->> 'region' as region
from public.cgm_connections c
where c.id = %(id)s
  and not exists (select from cgm_private.sync_state s where s.connection_id = c.id)

-- name: take_over
-- The tokens under our seal. The host's cursor means nothing to us, its error text is not ours; what a person
-- disconnected stays so, and whatever else the host thought of it, we try.
update public.cgm_connections
set access_token = %(access)s,
    refresh_token = %(refresh)s,
    token_expires_at = case when isfinite(token_expires_at) then token_expires_at else now() at time zone 'UTC' end,
    sync_cursor = null,
    error_message = null,
    status = case when status = 'disconnected' then status else 'connected' end
where id = %(id)s

-- name: begin_state
-- From here on the connection is ours, and due.
insert into cgm_private.sync_state (connection_id, person_id, region, next_sync_at, connected_at, adopted_at)
select c.id, c.person_id, %(region)s, now(), c.created_at at time zone 'UTC', now()
from public.cgm_connections c
where c.id = %(id)s
