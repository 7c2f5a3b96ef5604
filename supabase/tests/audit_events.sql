-- Who did what: added to and read, never changed, and it outlives the person.
begin;
\ir shared/people.psql
select plan(15);
insert into audit_events (actor, person_id, action) values ('service', 'p-alice', 'connected'), ('service', 'p-bob', 'connected');
select is_read_by_owners('audit_events');
select is(changed_by('cgm_worker', '', $$insert into audit_events (actor, action) values ('service', 'x')$$), '1', 'the service adds');
select is(changed_by('cgm_worker', '', $$update audit_events set action = 'y'$$), '42501', 'the service changes nothing');
select is(changed_by('cgm_worker', '', $$delete from audit_events$$), '42501', 'the service deletes nothing');
delete from public."Person" where id = 'p-alice';
select is((select count(*) from audit_events where person_id = 'p-alice'), 1::bigint, 'a record outlives its person');
select * from finish();
rollback;
