-- name: lock_at_rest
-- What pausing and resuming must know; the tokens themselves stay where they are. has_own_login: it is synced by its own
-- tokens, present or missing, and not by other ways in alone. has_time: it waits for a time that it has kept.
select c.person_id, c.provider::text as provider, c.status::text as status, s.reason,
       c.access_token <> '' or c.refresh_token <> '' as has_tokens,
       c.access_token <> '' or c.refresh_token <> '' or c.token_expires_at < timestamp '9999-01-01' as has_own_login,
       s.next_sync_at is not null as has_time
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.id = %(id)s and c.person_id = %(person_id)s
for update of c

-- name: pause
-- What rests has no next time, so that nobody comes upon it who looks for what is due; but a refused or a
-- locked sign-in keeps its waiting time for when it is resumed. "ended": why an expired one had expired, which tells it apart when it is resumed.
-- "keep_alive": so long from now its refresh token is to be used, though it rests.
with state as (
  update cgm_private.sync_state
  set next_sync_at = case when reason in ('sign_in_refused', 'sign_in_locked') then next_sync_at end,
      reason = coalesce(%(ended)s::text, reason),
      keep_alive_at = now() + %(keep_alive)s::interval
  where connection_id = %(id)s
    and exists (
      select from public.cgm_connections c where c.id = %(id)s and c.status <> 'disconnected'
    )
  returning connection_id
)
update public.cgm_connections c
set status = 'disconnected', error_message = null
from state
where c.id = state.connection_id and c.person_id = %(person_id)s and c.status <> 'disconnected'

-- name: resume
-- Due now. Trouble from before the pause is still trouble until a sync succeeds, and a refused or a locked
-- sign-in keeps its waiting time: pausing and resuming must not climb the ladder that ends in a reconnect, nor send a
-- password into a lock. "ended", the words for it: its
-- own way waits for a sign-in as before, and only the others go on, each at its own time.
with state as (
  update cgm_private.sync_state
  set next_sync_at = case
        when %(ended)s::text is null and reason in ('sign_in_refused', 'sign_in_locked')
          then coalesce(next_sync_at, now())
        when %(ended)s::text is null then now()
      end,
      keep_alive_at = null
  where connection_id = %(id)s
  returning connection_id, reason
)
update public.cgm_connections c
set status = (
      case
        when %(ended)s::text is not null then 'expired'
        when coalesce(state.reason, 'rate_limited') in ('rate_limited', 'vendor_unavailable') then 'connected'
        else 'error'
      end
    )::"CGMConnectionStatus",
    error_message = coalesce(%(ended)s::text, c.error_message)
from state
where c.id = state.connection_id and c.person_id = %(person_id)s and c.status = 'disconnected'

-- name: kept_alive
-- The next time, unless it was resumed meanwhile.
update cgm_private.sync_state
set keep_alive_at = case when keep_alive_at is not null then now() + %(again_in)s::interval end
where connection_id = %(id)s
