-- name: open_run
-- The run that is queued or running for a connection, if any.
select id, connection_id, trigger, state, window_from, window_to, job_id, starts,
       coalesce(started_at > now() - interval '10 minutes', false) as fresh
from cgm_private.sync_runs
where connection_id = %(connection_id)s
  and state <> 'done'

-- name: last_start
-- Seconds since the last run of a connection that a person asked for and that is over, by the database's clock. One that
-- is open is given back to whoever asks, also where it was made since they looked for it.
select extract(epoch from now() - max(coalesce(started_at, requested_at)))::float8 as seconds
from cgm_private.sync_runs
where connection_id = %(connection_id)s
  and trigger = 'person'
  and state = 'done'

-- name: insert_run
-- One open run per connection: where there is one already, nothing is made.
insert into cgm_private.sync_runs (id, connection_id, person_id, trigger, state, window_from, window_to)
values (%(id)s, %(connection_id)s, %(person_id)s, %(trigger)s, 'queued', %(window_from)s, %(window_to)s)
on conflict do nothing
returning id, connection_id, trigger, state, window_from, window_to, job_id, starts, false as fresh

-- name: start_run
-- A redelivered job resumes the same row and counts its starts there: who started it last carries it out, and what
-- another one still does for it is refused (count_batch, finish_run). due_at: when a scheduled one should have begun.
-- (Distinct from, here and below, has it found by its id, and not by the index of everybody's open runs.)
update cgm_private.sync_runs
set state = 'running',
    job_id = coalesce(%(job_id)s::bigint, job_id),
    starts = starts + 1,
    due_at = coalesce(due_at, case when trigger = 'schedule' then (
      select s.next_sync_at from cgm_private.sync_state s where s.connection_id = sync_runs.connection_id
    ) end),
    started_at = coalesce(started_at, now())
where id = %(id)s
  and state is distinct from 'done'
returning starts

-- name: count_batch
-- Progress of a running sync, in the transaction that stored the batch. No row: the run is not ours any more.
update cgm_private.sync_runs
set fetched = fetched + %(fetched)s,
    inserted = inserted + %(inserted)s,
    updated = updated + %(updated)s,
    rejected = rejected + %(rejected)s
where id = %(id)s
  and starts = %(starts)s
  and state = 'running'
returning id

-- name: finish_run
-- No row: it has ended, or is not ours any more. What is told of a connection's runs goes back 90 days.
with old as (
  delete from cgm_private.sync_runs
  where connection_id = %(connection_id)s
    and requested_at < now() - interval '90 days'
    and id <> %(id)s
)
update cgm_private.sync_runs
set state = 'done', outcome = %(outcome)s, reason = %(reason)s, finished_at = now()
where id = %(id)s
  and starts = %(starts)s
  and state is distinct from 'done'
returning outcome, trigger, fetched, inserted, updated, rejected

-- name: forget_quiet_runs
-- Of scheduled runs that found nothing, in a row, only the last is kept.
delete from cgm_private.sync_runs old
where old.connection_id = %(connection_id)s
  and old.state = 'done'
  and old.id <> %(id)s
  and old.outcome = 'nothing_new'
  and old.trigger = 'schedule'
  and old.finished_at > coalesce(
    (
      select max(kept.finished_at)
      from cgm_private.sync_runs kept
      where kept.connection_id = %(connection_id)s
        and kept.state = 'done'
        and not (kept.outcome = 'nothing_new' and kept.trigger = 'schedule')
    ),
    '-infinity'
  )
