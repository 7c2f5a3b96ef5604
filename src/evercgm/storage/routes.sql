-- name: store
-- A fresh sign-in, in the row that is there or a new one; another account begins anew.
insert into cgm_private.routes
  (id, connection_id, person_id, route, region, vendor_account_id, secret, session, session_expires_at)
values
  (%(id)s, %(connection_id)s, %(person_id)s, %(route)s, %(region)s, %(account_id)s, %(secret)s, %(session)s,
   %(expires_at)s)
on conflict (connection_id, route) do update
set region = excluded.region,
    vendor_account_id = excluded.vendor_account_id,
    secret = excluded.secret,
    session = excluded.session,
    session_expires_at = excluded.session_expires_at,
    newest_at = case when routes.vendor_account_id = excluded.vendor_account_id then routes.newest_at end,
    reason = null,
    failure_count = 0,
    next_sync_at = now(),
    connected_at = now()

-- name: id_of
select r.id, r.vendor_account_id, r.newest_at
from cgm_private.routes r
where r.connection_id = %(connection_id)s
  and r.route = %(route)s

-- name: of_connection
-- All ways besides its own, still sealed.
select r.id, r.connection_id, r.person_id, r.route, r.region, r.vendor_account_id, r.secret, r.session,
       r.session_expires_at, r.newest_at, r.reason, r.failure_count, r.next_sync_at, r.connected_at,
       r.next_sync_at <= now() as due
from cgm_private.routes r
where r.connection_id = %(connection_id)s
order by r.route

-- name: told
-- What a person may know of them, by connections that were proven to be theirs.
select r.connection_id, r.route, r.region, r.reason, r.newest_at, r.connected_at, r.next_sync_at is not null as lives
from cgm_private.routes r
where r.connection_id = any(%(connection_ids)s::text[])
order by r.connection_id, r.route

-- name: living
-- Of these connections those with another way in that goes on by itself.
select distinct r.connection_id
from cgm_private.routes r
where r.connection_id = any(%(connection_ids)s::text[])
  and r.next_sync_at is not null

-- name: save_session
-- Only in place of the one that was read: a sign-in by the person is newer than any renewal.
update cgm_private.routes
set secret = %(secret)s,
    session = %(session)s,
    session_expires_at = %(expires_at)s
where id = %(id)s
  and connected_at = %(connected_at)s
returning id

-- name: same_sign_in
-- Whether what was read by that sign-in is still wanted; who removes the way meanwhile waits until it is stored.
select r.id
from cgm_private.routes r
where r.id = %(id)s
  and r.connected_at = %(connected_at)s
for share

-- name: note
update cgm_private.routes
set newest_at = greatest(newest_at, %(newest_at)s::timestamptz),
    vendor_account_id = coalesce(vendor_account_id, %(account_id)s::text),
    reason = %(reason)s,
    failure_count = %(failure_count)s,
    next_sync_at = %(next_sync_at)s
where id = %(id)s
  and connected_at = %(connected_at)s

-- name: forget
delete from cgm_private.routes
where connection_id = %(connection_id)s
  and (%(route)s::text is null or route = %(route)s)
returning id
