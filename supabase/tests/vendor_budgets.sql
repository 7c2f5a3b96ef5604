-- How often we have called a vendor.
begin;
\ir shared/people.psql
select plan(10);
insert into vendor_budgets (provider, region, window_start) values ('dexcom', 'us', now());
select throws_ok($$insert into vendor_budgets (provider, region, window_start) values ('dexcom', 'us', now())$$, '23505', null,
  'a window is counted once');
select is_of_the_service_alone('vendor_budgets', 1);
select * from finish();
rollback;
