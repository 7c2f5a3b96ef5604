-- The host's connections: production shape, isolation, cascade and cast, the report's checks by their names in it.
begin;
\ir shared/people.psql
select plan(41);

-- Shape: the production form.
select enum_has_labels('public', 'CGMConnectionStatus', array['connected', 'disconnected', 'error', 'expired']);
select enum_has_labels('public', 'CGMProvider', array['dexcom', 'libre', 'abbott', 'medtronic']);
select columns_are('public', 'cgm_connections', array[
  'id', 'person_id', 'provider', 'access_token', 'refresh_token', 'token_expires_at', 'status', 'error_message',
  'device_id', 'last_sync_at', 'sync_cursor', 'metadata', 'created_at', 'updated_at']);
select col_type_is('public', 'cgm_connections', 'provider', 'public', 'CGMProvider', 'provider is the enum');
select col_type_is('public', 'cgm_connections', 'metadata', 'jsonb', 'metadata is jsonb');
select col_default_is('public', 'cgm_connections', 'status', 'connected', 'a new connection is connected');
select indexes_are('public', 'cgm_connections', array[
  'cgm_connections_pkey', 'cgm_connections_person_id_provider_key', 'cgm_connections_person_id_idx',
  'cgm_connections_status_idx', 'cgm_connections_last_sync_at_idx', 'cgm_connections_person_id_status_idx']);
select index_is_unique('public', 'cgm_connections', 'cgm_connections_person_id_provider_key', 'one connection per provider per person');
select fk_ok('public', 'cgm_connections', 'person_id', 'public', 'Person', 'id');

-- Policies.
select policies_are('public', 'cgm_connections', array[
  'Users can view own CGM connections', 'Users can insert own CGM connections', 'Users can update own CGM connections',
  'Users can delete own CGM connections', 'cgm_worker may keep connections']);
select policy_cmd_is('public', 'cgm_connections', 'Users can view own CGM connections'::name, 'select');
select policy_cmd_is('public', 'cgm_connections', 'Users can insert own CGM connections'::name, 'insert');
select policy_cmd_is('public', 'cgm_connections', 'Users can update own CGM connections'::name, 'update');
select policy_cmd_is('public', 'cgm_connections', 'Users can delete own CGM connections'::name, 'delete');
select policy_roles_are('public', 'cgm_connections', 'Users can view own CGM connections'::name, array['authenticated']);
select policy_roles_are('public', 'cgm_connections', 'cgm_worker may keep connections'::name, array['cgm_worker']);

-- Type casting.
select function_returns('auth', 'uid', array[]::name[], 'uuid', 'Type casting: auth.uid() answers a uuid');
select throws_ok('select 1 from public."Person" where "ownerId" = auth.uid()', '42883', null,
  'Type casting: without the cast text and uuid cannot be compared');
select is_empty($$select policyname from pg_policies
                   where tablename = 'cgm_connections' and policyname like 'Users %'
                     and concat(qual, with_check) !~ '\(\( SELECT auth\.uid\(\) AS uid\)\)::text'$$,
  'Type casting: each policy of the owners compares auth.uid() as text, once a query');

-- Test User Isolation.
select is(seen_by('authenticated', alice(), 'select id from cgm_connections'), 'c-alice', 'Test User Isolation: an owner sees own connections');
select is(seen_by('cgm_request', alice(), 'select id from cgm_connections'), 'c-alice', 'Test User Isolation: through the service, too');
select is(seen_by('authenticated', stranger(), 'select id from cgm_connections'), 'none', 'Test User Isolation: a stranger sees none');
select is(seen_by('authenticated', '', 'select id from cgm_connections'), 'none', 'Test User Isolation: without claims there is none');
select is(seen_by('anon', alice(), 'select id from cgm_connections'), '42501', 'Test User Isolation: anon is refused, whatever it claims');
select is(seen_by('service_role', '', $$select access_token from cgm_connections where id like 'c-%' and person_id like 'p-%'$$), 'sealed,sealed',
  'service_role sees all, sealed');
select is(changed_by('authenticated', bob(), $$delete from cgm_connections where id = 'c-alice'$$), '0', 'Test User Isolation: a stranger deletes nothing');
select is(changed_by('authenticated', bob(), $$update cgm_connections set status = 'error'$$), '42501', 'owners change nothing by themselves');
select is(changed_by('authenticated', bob(), $$
  insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
  values ('c-new', 'p-alice', 'libre', '', '', now())$$), '42501', 'Test User Isolation: nobody adds to another''s person');

-- Tokens.
select is(seen_by('authenticated', alice(), 'select access_token from cgm_connections'), '42501', 'no owner reads an access token');
select is(seen_by('cgm_request', alice(), 'select refresh_token from cgm_connections'), '42501', 'nor a refresh token through the service');
select is(seen_by('authenticated', alice(), 'select sync_cursor from cgm_connections'), '42501', 'the cursor is hidden');
select is(seen_by('authenticated', alice(), 'select metadata from cgm_connections'), '42501', 'the metadata are hidden');
select is(changed_by('authenticated', alice(), 'truncate cgm_connections cascade'), '42501', 'nobody empties the table past row-level security');
select is(changed_by('service_role', '', $$update cgm_connections set status = 'error' where id = 'c-alice'$$), '1', 'service_role may change');
select is(changed_by('cgm_worker', '', $$update cgm_connections set status = 'connected' where id = 'c-alice'$$), '1', 'cgm_worker may change');

-- What plain SQL is helped with: updated_at has no default in the hosts schema.
select is((select updated_at from cgm_connections where id = 'c-alice'), now()::timestamp(3), 'updated_at is filled, in UTC');
select throws_ok($$insert into cgm_connections (id, person_id, provider, access_token, refresh_token, token_expires_at)
                   values ('c-2', 'p-alice', 'dexcom', '', '', now())$$, '23505', null, 'a second connection of one provider is refused');
select throws_ok($$update cgm_connections set provider = 'other'$$, '22P02', null, 'a provider that nobody knows is refused');

-- Cascade Behavior.
select is(changed_by('authenticated', alice(), $$delete from cgm_connections where id = 'c-alice'$$), '1', 'an owner deletes their own');
select is((select row(id, cgm_connection_id)::text from glucose_readings where id = 'r-alice'), '(r-alice,)',
  'SET NULL: glucose readings preserve when their connection is deleted');
delete from "Person" where id = 'p-bob';
select is_empty($$select 1 from cgm_connections where person_id = 'p-bob'$$, 'CASCADE DELETE: a deleted person takes their connections along');
select * from finish();
rollback;
