-- Standalone identity: sign-in links, sessions and the signing key. Run as cgm_worker; hashes of tokens only.

-- name: lock_keys
-- one process at a time makes the first signing key
select pg_advisory_xact_lock(hashtext('evercgm signing_keys'));

-- name: signing_keys
-- every key that may still verify a token, the signing one first
select kid, public_jwk, sealed_private
  from cgm_private.signing_keys
 where retired_at is null
 order by created_at desc, kid;

-- name: add_signing_key
-- keep a new key; its private half is sealed
insert into cgm_private.signing_keys (kid, public_jwk, sealed_private)
values (%(kid)s, %(public_jwk)s::jsonb, %(sealed_private)s);

-- name: forget_old_links
-- links that nobody can use any more
delete from cgm_private.sign_in_links
 where expires_at < now() - interval '1 day';

-- name: add_link
-- a new one-time link
insert into cgm_private.sign_in_links (token_hash, owner_id, expires_at)
values (%(token_hash)s, %(owner_id)s, now() + %(lifetime)s);

-- name: peek_link
-- whose link this is, without using it up
select owner_id
  from cgm_private.sign_in_links
 where token_hash = %(token_hash)s
   and used_at is null
   and expires_at > now();

-- name: use_link
-- use it up: of two at the same moment only one gets a row
update cgm_private.sign_in_links
   set used_at = now()
 where token_hash = %(token_hash)s
   and used_at is null
   and expires_at > now()
returning owner_id;

-- name: forget_old_sessions
-- sessions that have ended
delete from cgm_private.sessions
 where expires_at < now();

-- name: add_session
-- a new session
insert into cgm_private.sessions (token_hash, owner_id, expires_at)
values (%(token_hash)s, %(owner_id)s, now() + %(lifetime)s);

-- name: session_owner
-- whose session this is; at most once an hour its end moves on
with seen as (
  update cgm_private.sessions
     set last_seen_at = now(),
         expires_at = now() + %(lifetime)s
   where token_hash = %(token_hash)s
     and expires_at > now()
     and last_seen_at < now() - interval '1 hour'
)
select owner_id
  from cgm_private.sessions
 where token_hash = %(token_hash)s
   and expires_at > now();

-- name: end_session
-- sign out
delete from cgm_private.sessions
 where token_hash = %(token_hash)s;
