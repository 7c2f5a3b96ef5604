-- The host's readings: our one column, whose connection a reading may name, and what outlives a connection.
begin;
\ir shared/people.psql
select plan(17);

select col_type_is('public', 'glucose_readings', 'cgm_connection_id', 'text', 'the column is text');
select col_is_null('public', 'glucose_readings', 'cgm_connection_id', 'a reading needs no connection');
select has_index('public', 'glucose_readings', 'glucose_readings_cgm_connection_id_idx', 'cgm_connection_id'::name, 'it is indexed');
select fk_ok('public', 'glucose_readings', 'cgm_connection_id', 'public', 'cgm_connections', 'id');
select has_trigger('public', 'glucose_readings', 'glucose_readings_own_connection', 'its connection is checked');

-- Isolation: through the service, with the condition that its every query has.
select is(
  seen_by('cgm_request', alice(),
          $$select r.id from glucose_readings r join "Person" p on p.id = r.person_id where p."ownerId" = (select auth.uid())::text$$),
  'r-alice', 'an owner sees their person''s readings');
select is(seen_by('cgm_worker', '', $$select id from glucose_readings where person_id like 'p-%'$$), 'r-alice,r-bob', 'the service sees all');
select ok(changed_by('cgm_request', alice(), 'delete from glucose_readings') in ('42501', '0'), 'an owner deletes none through it');
select ok(changed_by('cgm_request', alice(), 'update glucose_readings set value = 1') in ('42501', '0'), 'and changes none');

-- A foreign connection and a missing one are one error, so that nobody can tell which ids exist.
select is(changed_by('cgm_worker', '', $$update glucose_readings set cgm_connection_id = 'c-bob' where id = 'r-alice'$$), '23514',
  'a reading never names another person''s connection');
select is(changed_by('cgm_worker', '', $$update glucose_readings set cgm_connection_id = 'c-none' where id = 'r-alice'$$), '23514',
  'nor one that is not there, with the same error');
select is(changed_by('cgm_worker', '', $$update glucose_readings set person_id = 'p-bob' where id = 'r-alice'$$), '23514',
  'nor moves to another person with its connection');
select is(
  changed_by('cgm_worker', '', $$
    insert into glucose_readings (id, person_id, "timestamp", value, source, cgm_connection_id)
    values ('r-2', 'p-alice', '2026-01-01 00:05', 101, 'cgm', 'c-alice')$$),
  '1', 'the service adds a reading of the person''s own connection');

-- Delete Behavior.
delete from cgm_connections where id = 'c-alice';
select results_eq(
  $$select id, cgm_connection_id from glucose_readings where person_id = 'p-alice' order by id$$,
  $$values ('r-2', null::text), ('r-alice', null)$$,
  'SET NULL: glucose readings preserve when their connection is deleted');
select is((select cgm_connection_id from glucose_readings where id = 'r-bob'), 'c-bob', 'SET NULL: other people''s stay linked');
update "Person" set id = 'p-bob-new' where id = 'p-bob';
select is((select person_id || ' ' || cgm_connection_id from glucose_readings where id = 'r-bob'), 'p-bob-new c-bob',
  'a person''s id may change, readings and connections follow');
delete from "Person" where id = 'p-bob-new';
select is_empty($$select 1 from glucose_readings where id = 'r-bob'$$, 'CASCADE DELETE: a deleted person takes their readings along');
select * from finish();
rollback;
