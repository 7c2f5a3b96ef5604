-- The host's readings: our one column, whose connection a reading may name, and what outlives a connection.
begin;
\ir shared/people.psql
select plan(20);

select col_type_is('public', 'glucose_readings', 'cgm_connection_id', 'text', 'the column is text');
select col_is_null('public', 'glucose_readings', 'cgm_connection_id', 'a reading needs no connection');
select has_index('public', 'glucose_readings', 'glucose_readings_cgm_connection_id_idx', 'cgm_connection_id'::name, 'it is indexed');
select fk_ok('public', 'glucose_readings', 'cgm_connection_id', 'public', 'cgm_connections', 'id');
select has_trigger('public', 'glucose_readings', 'glucose_readings_own_connection', 'its connection is checked');

-- Isolation: what row-level security alone lets through, without the condition that the service's every query has. It is
-- the host app's to switch on; where it is off, these say what the service then stands on: its own queries, and nothing else.
create function tap.only_where_rows_are_kept_apart(kept text)
returns text
language sql
as $$
  select case when c.relrowsecurity then kept else 'r-alice,r-bob' end
    from pg_class c
   where c.oid = 'public.glucose_readings'::regclass
$$;
select is(seen_by('cgm_request', alice(), $$select id from glucose_readings where person_id like 'p-%'$$),
          tap.only_where_rows_are_kept_apart('r-alice'),
          'Isolation: through the service an owner sees their person''s readings, and others'' only without the host''s row-level security');
select is(seen_by('cgm_request', bob(), $$select id from glucose_readings where person_id like 'p-%'$$),
          tap.only_where_rows_are_kept_apart('r-bob'), 'Isolation: and so does the other');
select is(seen_by('cgm_request', stranger(), $$select id from glucose_readings where person_id like 'p-%'$$),
          tap.only_where_rows_are_kept_apart('none'), 'Isolation: a stranger sees none');
select is(seen_by('cgm_request', '', $$select id from glucose_readings where person_id like 'p-%'$$),
          tap.only_where_rows_are_kept_apart('none'), 'Isolation: without claims there is none');
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
