-- Keys of standalone mode: the private half is sealed, and the service's alone.
begin;
\ir shared/people.psql
select plan(10);
insert into signing_keys (kid, public_jwk, sealed_private) values ('k', '{}', 'sealed');
select col_not_null('cgm_private', 'signing_keys', 'sealed_private', 'the private half is there');
select is_of_the_service_alone('signing_keys', 1);
select * from finish();
rollback;
