-- name: make_connection
-- What only files fill has no token and is never due.
insert into public.cgm_connections
  (id, person_id, provider, access_token, refresh_token, token_expires_at, status, updated_at)
values
  (%(id)s, %(person_id)s, %(provider)s::"CGMProvider", '', '', timestamp '9999-12-31', 'connected',
   now() at time zone 'UTC')

-- name: own_by_files
-- Its history is as long as its files.
insert into cgm_private.sync_state (connection_id, person_id, provider, region, connected_at, history_done_at)
values (%(id)s, %(person_id)s, %(provider)s, %(region)s, now(), now())

-- name: note_run
-- In the history of syncs, with its counts; imports of 90 days ago are forgotten, as syncs are.
with forgotten as (
  delete from cgm_private.sync_runs old
  where old.connection_id = %(connection_id)s
    and old.trigger = 'import'
    and old.requested_at < now() - interval '90 days'
)
insert into cgm_private.sync_runs
  (id, connection_id, person_id, trigger, state, outcome, starts, fetched, inserted, updated, started_at, finished_at)
values
  (%(id)s, %(connection_id)s, %(person_id)s, 'import', 'done',
   case when %(inserted)s + %(updated)s > 0 then 'succeeded' else 'nothing_new' end,
   1, %(fetched)s, %(inserted)s, %(updated)s, now(), clock_timestamp())

-- name: note_success
-- Of a connection that only files fill this is its sync; others have their own.
update public.cgm_connections c
set status = 'connected', error_message = null, last_sync_at = now() at time zone 'UTC'
from cgm_private.sync_state s
where c.id = %(connection_id)s
  and s.connection_id = c.id
  and s.region = %(region)s
