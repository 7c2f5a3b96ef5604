-- The job engine's queue, where the engine itself has no word for what we want. Run as cgm_worker.

-- name: hurry
-- those that wait behind all that is due wait there no longer
update cgm_jobs.pgqueuer j
set priority = %(priority)s, entrypoint = %(entrypoint)s
where j.dedupe_key = any(%(keys)s::text[])
  and j.status = 'queued'
  and j.priority < %(priority)s

-- name: waiting
-- whether there is one that a worker could begin now. (Kind by kind and in order, so that the first is found by the index
-- of what is queued, and not by sorting all that waits or reading the table until one turns up.)
select exists (
  select
  from unnest(%(entrypoints)s::text[]) as kind (name)
  cross join lateral (
    select
    from cgm_jobs.pgqueuer j
    where j.entrypoint = kind.name
      and j.status = 'queued'
      and j.execute_after <= now()
    order by j.execute_after
    limit 1
  ) first
) as waiting

-- name: count_syncs
-- those of some connections, under way or not
select count(*) as jobs
from cgm_jobs.pgqueuer j
where j.payload = any(%(payloads)s::bytea[]) or j.dedupe_key = any(%(keys)s::text[])

-- name: forget_syncs
delete from cgm_jobs.pgqueuer j
where j.payload = any(%(payloads)s::bytea[]) or j.dedupe_key = any(%(keys)s::text[])

-- name: held
-- Whether a job is still with the worker that took it; it stays so until the transaction ends.
select j.id
from cgm_jobs.pgqueuer j
where j.id = %(id)s
  and j.queue_manager_id = %(manager)s
for update
