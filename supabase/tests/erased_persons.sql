-- Who was erased; it outlives the person and refers to nobody.
begin;
\ir shared/people.psql
select plan(10);
insert into erased_persons (person_id) values ('p-gone');
select hasnt_fk('cgm_private', 'erased_persons', 'it refers to nobody');
select is_of_the_service_alone('erased_persons', 1);
select * from finish();
rollback;
