-- A sign-in that is under way: hashes and sealed text, for the service alone.
begin;
\ir shared/people.psql
select plan(11);
insert into oauth_attempts (id, person_id, owner_id, provider, region, state_hash, expires_at)
values ('o-alice', 'p-alice', alice(), 'dexcom', 'us', 'a', now()), ('o-bob', 'p-bob', bob(), 'dexcom', 'us', 'b', now());
select throws_ok($$update oauth_attempts set state_hash = 'a'$$, '23505', null, 'a state is used once');
select goes_with_the_person('oauth_attempts');
select is_of_the_service_alone('oauth_attempts', 1);
select * from finish();
rollback;
