-- What the host's table of readings has no column for.
begin;
\ir shared/people.psql
select plan(16);
insert into reading_details (reading_id, person_id, stream, record_key)
values ('r-alice', 'p-alice', 'dexcom/dexcom/a', '1'), ('r-bob', 'p-bob', 'dexcom/dexcom/b', '1');
select is_read_by_owners('reading_details');
select fk_ok('cgm_private', 'reading_details', 'reading_id', 'public', 'glucose_readings', 'id');
select col_is_pk('cgm_private', 'reading_details', array['person_id', 'stream', 'record_key']::name[], 'a record is known once');
select throws_ok($$update reading_details set flag = 'odd'$$, '23514', null, 'a flag is low or high');
select is(
  changed_by('cgm_worker', '', $$insert into reading_details (reading_id, person_id, stream, record_key)
                                 values ('r-alice', 'p-alice', 'dexcom/dexcom/a', '2')$$),
  '1', 'one reading may be known by several keys');
select goes_with_the_person('reading_details');
select * from finish();
rollback;
