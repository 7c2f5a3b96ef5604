-- name: insert_attempt
insert into cgm_private.oauth_attempts
  (id, person_id, owner_id, provider, region, return_to, handover_hash, expires_at)
values
  (%(id)s, %(person_id)s, %(owner_id)s, %(provider)s, %(region)s, %(return_to)s, %(handover_hash)s,
   now() + make_interval(secs => %(lifetime_s)s))
returning expires_at

-- name: forget_old
-- A row that somebody else has in hand is left to them: nobody waits here.
delete from cgm_private.oauth_attempts
where id in (
  select a.id from cgm_private.oauth_attempts a where a.expires_at < now() for update skip locked
)

-- name: forget_surplus
-- Of sign-ins that were begun for one person and not finished only the newest live on; what waits for a yes stays.
delete from cgm_private.oauth_attempts
where id in (
  select a.id
  from cgm_private.oauth_attempts a
  where a.person_id = %(person_id)s
    and a.sealed_access = ''
  order by a.created_at desc
  offset %(most)s
  for update skip locked
)

-- name: look
-- An unused hand-over, for the page that names the person.
select a.id, a.person_id, a.owner_id, a.provider, a.region, p.label
from cgm_private.oauth_attempts a
left join cgm_private.person_settings p on p.person_id = a.person_id
where a.handover_hash = %(handover_hash)s
  and a.handover_used_at is null
  and a.expires_at > now()

-- name: use_handover
-- The click: binds the attempt to one browser and one state, once.
update cgm_private.oauth_attempts
set handover_used_at = now(),
    state_hash = %(state_hash)s,
    binding_hash = %(binding_hash)s,
    pkce_verifier = %(pkce_verifier)s
where id = %(id)s
  and handover_hash = %(handover_hash)s
  and handover_used_at is null
  and expires_at > now()
returning id

-- name: consume
-- A state works once, whatever becomes of it; alive while it is young and the person still the owner's who began it.
delete from cgm_private.oauth_attempts
where state_hash = %(state_hash)s
returning id, person_id, owner_id, provider, region, return_to, pkce_verifier, binding_hash, created_at,
          expires_at > now() and exists (
            select from public."Person" p
            where p.id = oauth_attempts.person_id
              and p."ownerId" = oauth_attempts.owner_id
          ) as alive

-- name: consume_pasted
-- What was pasted names its state; whoever pastes must be the owner who began it.
delete from cgm_private.oauth_attempts
where state_hash = %(state_hash)s
  and owner_id = %(owner_id)s
returning id, person_id, owner_id, provider, region, return_to, pkce_verifier, created_at,
          expires_at > now() and exists (
            select from public."Person" p
            where p.id = oauth_attempts.person_id
              and p."ownerId" = oauth_attempts.owner_id
          ) as alive

-- name: begin_now
-- A sign-in that needs no browser: nothing is stored until it has succeeded.
select now() as began_at

-- name: lock_person
-- One at a time stores a consent of a person, confirms one or erases them; taken before any row, and by no sync.
select pg_advisory_xact_lock(hashtextextended('evercgm sign-in ' || %(person_id)s, 0))

-- name: still_fits
-- Asked under that lock: the person is the owner's who began it, and nobody has erased them since.
select exists (
         select from public."Person" p
         where p.id = %(person_id)s
           and p."ownerId" = %(owner_id)s
       )
       and not exists (
         select from cgm_private.erased_persons e
         where e.person_id = %(person_id)s
           and e.erased_at > %(began_at)s
       ) as fits

-- name: forget_waiting
-- A newer sign-in takes the place of an older one that still waits for the person's word.
delete from cgm_private.oauth_attempts
where person_id = %(person_id)s
  and provider = %(provider)s
  and sealed_access <> ''

-- name: insert_waiting
-- A fresh pair of another vendor account, sealed under this row until the person has confirmed.
insert into cgm_private.oauth_attempts
  (id, person_id, owner_id, provider, region, state_hash, sealed_access, sealed_refresh, token_expires_at,
   token_lifetime_s, vendor_account, unfinished, expires_at)
values
  (%(id)s, %(person_id)s, %(owner_id)s, %(provider)s, %(region)s, %(pasted_hash)s, %(access)s, %(refresh)s,
   %(token_expires_at)s, %(token_lifetime_s)s, %(account_id)s, %(unfinished)s, now() + make_interval(secs => %(lifetime_s)s))

-- name: look_waiting
select id, person_id, provider, region, sealed_access, sealed_refresh, token_expires_at, token_lifetime_s,
  vendor_account, unfinished
from cgm_private.oauth_attempts
where id = %(id)s
  and owner_id = %(owner_id)s
  and sealed_access <> ''
  and expires_at > now()

-- name: look_pasted
-- Which waiting pair was made of what is pasted once more.
select id from cgm_private.oauth_attempts where state_hash = %(pasted_hash)s and owner_id = %(owner_id)s

-- name: consume_waiting
-- A confirmation works once, for the owner who began it, while it is young; a yes is no answer to "which of them?".
delete from cgm_private.oauth_attempts
where id = %(id)s
  and owner_id = %(owner_id)s
  and person_id = %(person_id)s
  and sealed_access <> ''
  and unfinished = %(unfinished)s
  and expires_at > now()
returning id, person_id, provider, region, sealed_access, sealed_refresh, token_expires_at, token_lifetime_s,
  vendor_account, unfinished
