-- Connections that the conversion put aside, whole and with their tokens: for the service alone.
begin;
\ir shared/people.psql
select plan(11);
delete from quarantined_connections;
insert into quarantined_connections (id, person_id, connection, reason)
values ('q-alice', 'p-alice', '{}', 'unknown_provider'), ('q-bob', 'p-bob', '{}', 'second_spelling');
select throws_ok($$update quarantined_connections set reason = 'odd'$$, '23514', null, 'a reason is one of two');
select goes_with_the_person('quarantined_connections');
select is_of_the_service_alone('quarantined_connections', 1);
select * from finish();
rollback;
