-- One-time links: hashes only.
begin;
\ir shared/people.psql
select plan(10);
insert into sign_in_links (token_hash, owner_id, expires_at) values ('a', alice(), now());
select col_type_is('cgm_private', 'sign_in_links', 'token_hash', 'bytea', 'a link is stored as its hash');
select is_of_the_service_alone('sign_in_links', 1);
select * from finish();
rollback;
