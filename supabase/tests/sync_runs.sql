-- The history of syncs that people see.
begin;
\ir shared/people.psql
select plan(16);
insert into sync_runs (id, connection_id, person_id, trigger)
values ('s-alice', 'c-alice', 'p-alice', 'person'), ('s-bob', 'c-bob', 'p-bob', 'person');
select is_read_by_owners('sync_runs');
select throws_ok($$insert into sync_runs (id, connection_id, person_id, trigger) values ('s-2', 'c-alice', 'p-alice', 'schedule')$$,
  '23505', null, 'one open run a connection');
select throws_ok($$update sync_runs set state = 'done' where id = 's-alice'$$, '23514', null, 'a run that is done has an outcome');
select throws_ok($$update sync_runs set outcome = 'failed' where id = 's-alice'$$, '23514', null, 'and only then');
select lives_ok($$update sync_runs set state = 'done', outcome = 'nothing_new' where id = 's-alice'$$, 'a run ends');
select goes_with_the_person('sync_runs');
select * from finish();
rollback;
