-- Label, time zone, unit and targets of a person.
begin;
\ir shared/people.psql
select plan(15);
insert into person_settings (person_id) values ('p-alice'), ('p-bob');
select is_read_by_owners('person_settings');
select throws_ok($$update person_settings set unit = 'stone'$$, '23514', null, 'a unit is mg/dL or mmol/L');
select throws_ok($$update person_settings set target_low = 200$$, '23514', null, 'the low target lies below the high one');
select is(changed_by('cgm_worker', '', $$update person_settings set label = 'x'$$), '2', 'the service changes them');
select goes_with_the_person('person_settings');
select * from finish();
rollback;
