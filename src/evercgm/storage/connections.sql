-- name: own_connection
-- Proves that a connection is the person's own (run as the person); no row: not theirs.
select c.id, c.person_id, c.provider::text as provider, s.region
from public.cgm_connections c
join public."Person" p on p.id = c.person_id
left join cgm_private.sync_state s on s.connection_id = c.id
where c.id = %(connection_id)s
  and p."ownerId" = (select auth.uid())::text

-- name: own_person
-- Proves that a person belongs to the caller (run as the person).
select p.id
from public."Person" p
where p.id = %(person_id)s
  and p."ownerId" = (select auth.uid())::text

-- name: own_connections
-- The connections of one person of the caller's, or of all of them, that are ours to sync. waits_s: until the next time.
select c.id, c.person_id, c.status::text as status, c.provider::text as provider, s.region, s.reason,
       extract(epoch from s.next_sync_at - now())::float8 as waits_s
from public.cgm_connections c
join public."Person" p on p.id = c.person_id
join cgm_private.sync_state s on s.connection_id = c.id
where p."ownerId" = (select auth.uid())::text
  and (%(person_id)s::text is null or c.person_id = %(person_id)s)
  and (%(connection_id)s::text is null or c.id = %(connection_id)s)

-- name: connection_of_person
-- The row that a reconnect keeps.
select c.id, s.vendor_account_id, s.region, s.connection_id is not null as ours
from public.cgm_connections c
left join cgm_private.sync_state s on s.connection_id = c.id
where c.person_id = %(person_id)s
  and c.provider = %(provider)s::"CGMProvider"
for update of c

-- name: insert_connection
insert into public.cgm_connections
  (id, person_id, provider, access_token, refresh_token, token_expires_at, status, updated_at)
values
  (%(id)s, %(person_id)s, %(provider)s::"CGMProvider", %(access)s, %(refresh)s,
   %(expires_at)s::timestamptz at time zone 'UTC', 'connected', now() at time zone 'UTC')

-- name: replace_tokens
update public.cgm_connections
set access_token = %(access)s,
    refresh_token = %(refresh)s,
    token_expires_at = %(expires_at)s::timestamptz at time zone 'UTC',
    status = case when %(reconnected)s then 'connected' else status end,
    error_message = case when %(reconnected)s then null else error_message end
where id = %(id)s

-- name: own_now
-- Makes a connection ours, or begins it anew after a reconnect; the generation rises, so that a refresh
-- that is under way cannot overwrite the new tokens. Another account or region begins its history anew.
insert into cgm_private.sync_state
  (connection_id, person_id, provider, region, vendor_account_id, token_lifetime_s, next_sync_at, connected_at)
values (%(id)s, %(person_id)s, %(provider)s, %(region)s, %(account_id)s, %(lifetime_s)s, now(), now())
on conflict (connection_id) do update
set history_start = case when not %(anew)s then sync_state.history_start end,
    history_done_at = case when not %(anew)s then sync_state.history_done_at end,
    scans = case when %(anew)s then '{}' else sync_state.scans end,
    region = excluded.region,
    vendor_account_id = case
      when %(anew)s then excluded.vendor_account_id
      else coalesce(excluded.vendor_account_id, sync_state.vendor_account_id)
    end,
    token_lifetime_s = excluded.token_lifetime_s,
    next_sync_at = now(),
    connected_at = now(),
    generation = sync_state.generation + 1,
    refresh_until = null,
    previous_refresh_token = '',
    adopted_at = null,
    failures_since = null,
    failure_count = 0,
    reason = null,
    keep_alive_at = null

-- name: forget_cursor
-- The cursor of the host app, of another account or of another region means nothing here.
update public.cgm_connections set sync_cursor = null where id = %(id)s

-- name: lock_connection
select c.id from public.cgm_connections c where c.id = %(id)s for update

-- name: load_for_sync
-- All that one sync needs to know, tokens included (still sealed). due: by itself, as of query "due".
select c.id, c.person_id, c.provider::text as provider, c.access_token, c.refresh_token,
       c.token_expires_at at time zone 'UTC' as token_expires_at, c.status::text as status, c.sync_cursor,
       c.device_id, s.region, s.vendor_account_id, s.generation, s.token_lifetime_s, s.history_start,
       s.history_done_at, s.scans::text as scans, s.next_sync_at, s.failure_count, s.reason, s.connected_at, s.quiet_count,
       s.adopted_at, s.previous_refresh_token <> '' as previous_kept,
       s.refresh_until > now() as refreshing,
       coalesce(s.next_sync_at <= now(), false) and not exists (
         select from cgm_private.provider_pauses p
         where p.provider = c.provider::text and p.region = s.region and p.until > now() and not p.over
       ) as due,
       coalesce(s.keep_alive_at <= now(), false) as keep_alive_due,
       exists (select from cgm_private.routes r where r.connection_id = c.id) as has_side_routes,
       exists (select from cgm_private.routes r where r.connection_id = c.id and r.next_sync_at <= now()) as side_due,
       clock_timestamp() as read_at
from public.cgm_connections c
join cgm_private.sync_state s on s.connection_id = c.id
where c.id = %(id)s

-- name: take_refresh_lease
-- One refresher at a time over all machines, by the database's clock.
update cgm_private.sync_state
set refresh_until = now() + make_interval(secs => %(lease_s)s)
where connection_id = %(id)s
  and generation = %(generation)s
  and (refresh_until is null or refresh_until <= now())
returning connection_id

-- name: advance_generation
-- Compare-and-set: only who read this generation may store what it got.
update cgm_private.sync_state
set generation = generation + 1,
    refresh_until = null,
    token_lifetime_s = %(lifetime_s)s,
    previous_refresh_token = %(previous)s
where connection_id = %(id)s
  and generation = %(generation)s
returning connection_id

-- name: previous_refresh_token
-- The token before the present one, and a lease that lasts for one more call with it. No row: nothing to try.
update cgm_private.sync_state
set refresh_until = now() + make_interval(secs => %(lease_s)s)
where connection_id = %(id)s
  and generation = %(generation)s
  and previous_refresh_token <> ''
returning previous_refresh_token

-- name: forget_previous_token
-- It was refused too, or the new access token has worked.
update cgm_private.sync_state
set previous_refresh_token = ''
where connection_id = %(id)s
  and generation = %(generation)s

-- name: drop_refresh_lease
update cgm_private.sync_state
set refresh_until = null
where connection_id = %(id)s
  and generation = %(generation)s

-- name: note_progress
-- Cursor, history mark, scans and what was learnt, in the transaction that stored the readings. No row: it is gone, or
-- was connected anew since the sync began, perhaps with another account: an old cursor must not move the new one.
with state as (
  update cgm_private.sync_state
  set history_start = coalesce(%(history_start)s::timestamptz, history_start),
      history_done_at = case when %(history_done)s then coalesce(history_done_at, now()) else history_done_at end,
      scans = coalesce(%(scans)s::jsonb, scans),
      vendor_account_id = coalesce(vendor_account_id, %(account_id)s::text)
  where connection_id = %(id)s
    and connected_at is not distinct from %(connected_at)s::timestamptz
  returning connection_id
)
update public.cgm_connections c
set sync_cursor = coalesce(%(sync_cursor)s::text, c.sync_cursor),
    device_id = coalesce(%(device_id)s::text, c.device_id)
from state
where c.id = state.connection_id
returning c.id

-- name: note_success
-- One that was paused meanwhile rests: it has no next time.
with state as (
  update cgm_private.sync_state
  set next_sync_at = case
        when (select c.status from public.cgm_connections c where c.id = %(id)s) <> 'disconnected'
          then %(next_sync_at)s::timestamptz
      end,
      quiet_count = %(quiet)s,
      failures_since = null,
      failure_count = 0,
      reason = null,
      previous_refresh_token = '',
      adopted_at = null,
      keep_alive_at = case
        when (select c.status from public.cgm_connections c where c.id = %(id)s) = 'disconnected' then keep_alive_at
      end
  where connection_id = %(id)s
    and generation = %(generation)s
  returning connection_id
)
update public.cgm_connections c
set status = case when c.status = 'disconnected' then c.status else 'connected' end,
    error_message = null,
    last_sync_at = now() at time zone 'UTC'
from state
where c.id = state.connection_id

-- name: put_off
-- After a bug: the connection is as it was, but not due again at once, by none of its ways.
with ways as (
  update cgm_private.routes
  set next_sync_at = greatest(next_sync_at, now() + interval '10 minutes')
  where connection_id = %(id)s
    and next_sync_at is not null
)
update cgm_private.sync_state
set next_sync_at = case when next_sync_at is not null then greatest(next_sync_at, now() + interval '10 minutes') end,
    keep_alive_at = case when keep_alive_at is not null then greatest(keep_alive_at, now() + interval '10 minutes') end
where connection_id = %(id)s

-- name: note_failure
-- "was" is the reason before this failure. No row: a reconnect has happened since, nothing is written. One that was
-- paused meanwhile has no next time, unless it must wait whenever it is resumed.
with before as (
  select s.reason
  from cgm_private.sync_state s
  where s.connection_id = %(id)s
), state as (
  update cgm_private.sync_state
  set next_sync_at = case
        when (select c.status from public.cgm_connections c where c.id = %(id)s) <> 'disconnected'
          or %(reason)s in ('sign_in_refused', 'sign_in_locked')
          then %(next_sync_at)s::timestamptz
      end,
      failures_since = coalesce(failures_since, now()),
      failure_count = %(failure_count)s,
      reason = %(reason)s
  where connection_id = %(id)s
    and generation = %(generation)s
  returning connection_id
)
update public.cgm_connections c
set status = case when c.status = 'disconnected' then c.status else %(status)s::"CGMConnectionStatus" end,
    error_message = %(message)s
from state, before
where c.id = state.connection_id
returning before.reason as was

-- name: wake
-- A new way in: due now, and no longer waiting for a sign-in, unless its own tokens still wait for theirs; then only the new
-- way is due, by its own time.
with state as (
  update cgm_private.sync_state s
  set next_sync_at = case
        when c.status = 'expired' and (c.access_token <> '' or c.refresh_token <> '') then s.next_sync_at
        else coalesce(least(s.next_sync_at, now()), now())
      end
  from public.cgm_connections c
  where s.connection_id = %(id)s
    and c.id = s.connection_id
    and c.status <> 'disconnected'
  returning s.connection_id
)
update public.cgm_connections c
set status = 'connected', error_message = null
from state
where c.id = state.connection_id
  and c.status = 'expired'
  and c.access_token = ''
  and c.refresh_token = ''

-- name: due
-- Connections with a run that somebody asked for, then those whose time has come; longest overdue first. Where the
-- vendor is paused nothing is due by itself, and once the pause has ended only the first is: its call is the probe.
-- Each part, and in it each place, has its own limit: however many wait for one, the others go on, and what is overdue
-- where nobody may call is not even read.
with recursive held as (
  select p.provider, p.region, p.until > now() as paused
  from cgm_private.provider_pauses p
  where not p.over
), places as (
  -- Each once: by the index from one to the next, past all that wait in it.
  (
    select s.provider, s.region
    from cgm_private.sync_state s
    where s.next_sync_at is not null
    order by s.provider, s.region
    limit 1
  )
  union all
  select later.provider, later.region
  from places p
  cross join lateral (
    select s.provider, s.region
    from cgm_private.sync_state s
    where s.next_sync_at is not null
      and (s.provider, s.region) > (p.provider, p.region)
    order by s.provider, s.region
    limit 1
  ) later
)
select d.connection_id, min(d.due_at) = '-infinity' as asked
from (
  (
    select r.connection_id, '-infinity'::timestamptz as due_at
    from cgm_private.sync_runs r
    join public.cgm_connections c on c.id = r.connection_id
    where r.state = 'queued'
      and c.status in ('connected', 'error')
    order by r.requested_at
    limit %(most)s
  )
  union all
  (
    select waiting.connection_id, waiting.next_sync_at
    from places p
    cross join lateral (
      select s.connection_id, s.next_sync_at
      from cgm_private.sync_state s
      join public.cgm_connections c on c.id = s.connection_id
      where s.provider = p.provider
        and s.region = p.region
        and s.next_sync_at <= now()
        and c.status in ('connected', 'error')
      order by s.next_sync_at
      limit %(most)s
    ) waiting
    where not exists (select from held h where h.provider = p.provider and h.region = p.region)
    order by waiting.next_sync_at
    limit %(most)s
  )
  union all
  select probe.connection_id, probe.next_sync_at
  from held h
  cross join lateral (
    select s.connection_id, s.next_sync_at
    from cgm_private.sync_state s
    join public.cgm_connections c on c.id = s.connection_id
    where s.provider = h.provider
      and s.region = h.region
      and s.next_sync_at <= now()
      and c.status in ('connected', 'error')
    order by s.next_sync_at
    limit 1
  ) probe
  where not h.paused
  union all
  -- Another way in goes on where the connection's own waits for a sign-in, or for its vendor.
  (
    select r.connection_id, r.next_sync_at
    from cgm_private.routes r
    join public.cgm_connections c on c.id = r.connection_id
    where r.next_sync_at <= now()
      and c.status <> 'disconnected'
    order by r.next_sync_at
    limit %(most)s
  )
  union all
  -- At rest, and its refresh token ends without use.
  (
    select s.connection_id, s.keep_alive_at
    from cgm_private.sync_state s
    join public.cgm_connections c on c.id = s.connection_id
    where s.keep_alive_at <= now()
      and c.status = 'disconnected'
    order by s.keep_alive_at
    limit %(most)s
  )
) d
group by d.connection_id
order by min(d.due_at)

-- name: count_readings
select count(*) as readings from public.glucose_readings where cgm_connection_id = %(id)s

-- name: blank_tokens
update public.cgm_connections
set access_token = '', refresh_token = '', status = 'disconnected'
where id = %(id)s and person_id = %(person_id)s

-- name: blank_routes
delete from cgm_private.routes where connection_id = %(id)s

-- name: blank_previous_token
update cgm_private.sync_state
set previous_refresh_token = '', generation = generation + 1, refresh_until = null
where connection_id = %(id)s

-- name: delete_connection
-- Only while it holds no token: a consent that came since the tokens were blanked stays.
delete from public.cgm_connections
where id = %(id)s and person_id = %(person_id)s and access_token = '' and refresh_token = ''
returning id

-- name: note_seal_broken
-- A connection at rest stays at rest.
with state as (
  update cgm_private.sync_state
  set next_sync_at = now() + %(again_in)s, reason = 'seal_broken', failures_since = coalesce(failures_since, now())
  where connection_id = %(id)s
    and exists (
      select from public.cgm_connections c where c.id = %(id)s and c.status in ('connected', 'error')
    )
  returning connection_id
)
update public.cgm_connections c
set status = 'error', error_message = %(message)s
from state
where c.id = state.connection_id

-- name: renew_page
-- After a leak, one page by id: an access token that counts as ended is renewed before the next call, which is due now.
-- One that waits for a reason goes on waiting, and one at rest is renewed when it is woken.
with page as (
  select c.id, c.status, c.refresh_token
  from public.cgm_connections c
  join cgm_private.sync_state s on s.connection_id = c.id
  where c.id > %(after)s
  order by c.id
  limit %(most)s
  for update of c
),
ended as (
  update public.cgm_connections c
  set token_expires_at = least(c.token_expires_at, now() at time zone 'UTC')
  from page
  where c.id = page.id
    and page.refresh_token <> ''
),
state as (
  update cgm_private.sync_state s
  set next_sync_at = least(s.next_sync_at, now())
  from page
  where s.connection_id = page.id
    and s.reason is null
    and page.status in ('connected', 'error')
)
select page.id, case when page.refresh_token = '' then 'without tokens' else page.status::text end as kind
from page
order by page.id
