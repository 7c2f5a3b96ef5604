-- Vendors that we leave alone for a while.
begin;
\ir shared/people.psql
select plan(10);
insert into provider_pauses (provider, region, until, reason) values ('dexcom', 'us', now(), 'vendor_denied');
select col_is_pk('cgm_private', 'provider_pauses', array['provider', 'region']::name[], 'one pause a vendor and region');
select is_of_the_service_alone('provider_pauses', 1);
select * from finish();
rollback;
