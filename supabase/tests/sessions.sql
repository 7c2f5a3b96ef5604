-- Sessions of the page: hashes only.
begin;
\ir shared/people.psql
select plan(10);
insert into sessions (token_hash, owner_id, expires_at) values ('a', alice(), now()), ('b', bob(), now());
select col_type_is('cgm_private', 'sessions', 'token_hash', 'bytea', 'a session is stored as its hash');
select is_of_the_service_alone('sessions', 2);
select * from finish();
rollback;
