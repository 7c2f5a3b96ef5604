-- Other ways in of the same connection: secrets, for the service alone.
begin;
\ir shared/people.psql
select plan(12);
insert into routes (id, connection_id, person_id, route, region, session_expires_at, secret)
values ('w-alice', 'c-alice', 'p-alice', 'dexcom_share', 'us', now(), 'sealed'), ('w-bob', 'c-bob', 'p-bob', 'dexcom_share', 'us', now(), 'sealed');
select fk_ok('cgm_private', 'routes', 'connection_id', 'public', 'cgm_connections', 'id');
select throws_ok($$insert into routes (id, connection_id, person_id, route, region, session_expires_at) values ('w-2', 'c-bob', 'p-bob', 'dexcom_share', 'us', now())$$,
  '23505', null, 'a way in is stored once');
select goes_with_the_person('routes');
select is_of_the_service_alone('routes', 1);
select * from finish();
rollback;
