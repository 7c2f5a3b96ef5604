-- Spellings of providers: each leads to a label of the enum.
begin;
\ir shared/people.psql
select plan(10);
delete from provider_aliases where alias not in ('dexcom', 'freestyle');
select is_empty($$select 1 from provider_aliases
                   where provider not in (select unnest(enum_range(null::public."CGMProvider"))::text)$$,
  'an alias names a provider of the enum');
select is_of_the_service_alone('provider_aliases', 2);
select * from finish();
rollback;
