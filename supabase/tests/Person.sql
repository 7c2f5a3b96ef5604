-- Who owns whom decides everything: the service reads it, and nobody changes it through the API roles.
begin;
\ir shared/people.psql
select plan(8);

select col_is_pk('public', 'Person', 'id', 'a person has an id');
select col_type_is('public', 'Person', 'ownerId', 'text', 'the owner is text, and so compared as text');
select is(seen_by('cgm_request', alice(), $$select id from "Person" where id like 'p-%' and "ownerId" = (select auth.uid())::text$$),
          'p-alice', 'an owner finds their person');
select is(seen_by('cgm_worker', '', $$select id from "Person" where id like 'p-%'$$), 'p-alice,p-bob', 'the service sees all');
-- Whether by rights or by row-level security is the host's choice.
select ok(changed_by('cgm_request', alice(), $$update "Person" set "ownerId" = 'x'$$) in ('42501', '0'), 'cgm_request changes no owner');
select is(changed_by('cgm_worker', '', $$update "Person" set "ownerId" = 'x'$$), '42501', 'cgm_worker changes no owner');
select is(changed_by('cgm_worker', '', $$insert into "Person" values ('p-new', 'x')$$), '42501', 'cgm_worker makes no person');
select ok(
  changed_by('authenticated', bob(), $$update "Person" set "ownerId" = (select auth.uid())::text where id = 'p-alice'$$)
  in ('42501', '0'), 'nobody takes over another''s person');
select * from finish();
rollback;
