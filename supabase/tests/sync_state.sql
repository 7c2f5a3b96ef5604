-- What syncing remembers: owners see the columns that hold no secret.
begin;
\ir shared/people.psql
select plan(16);
insert into sync_state (connection_id, person_id, provider, region, previous_refresh_token)
values ('c-alice', 'p-alice', 'dexcom', 'us', 'sealed'), ('c-bob', 'p-bob', 'dexcom', 'us', 'sealed');
select is_read_by_owners('sync_state');
select fk_ok('cgm_private', 'sync_state', 'connection_id', 'public', 'cgm_connections', 'id');
select is(seen_by('cgm_request', alice(), 'select previous_refresh_token from sync_state'), '42501', 'no owner reads a token');
select is(seen_by('cgm_request', alice(), 'select generation from sync_state'), '0', 'an owner reads what holds no secret');
select is(seen_by('cgm_worker', '', 'select previous_refresh_token from sync_state'), 'sealed,sealed', 'the service reads it');
select goes_with_the_person('sync_state');
select * from finish();
rollback;
