-- Records that could not be read, with the reason.
begin;
\ir shared/people.psql
select plan(13);
insert into rejected_records (connection_id, person_id, stream, record_key, reason)
values ('c-alice', 'p-alice', 'dexcom/dexcom/a', '1', 'no value'), ('c-bob', 'p-bob', 'dexcom/dexcom/b', '1', 'no value');
select is_read_by_owners('rejected_records');
select fk_ok('cgm_private', 'rejected_records', 'connection_id', 'public', 'cgm_connections', 'id');
select goes_with_the_person('rejected_records');
select * from finish();
rollback;
